//! The examples of the README as a reader pastes them: only the port is another.

use std::net::SocketAddr;

const README: &str = include_str!("../../README.md");

/// The example in this language under "From a program", with the address of a running server.
pub fn example(language: &str, server: SocketAddr) -> String {
    let section = README.split("### From a program\n").nth(1).expect("the README has it");
    let section = section.split("\n## ").next().unwrap();
    let block = section.split(&format!("```{language}\n")).nth(1).expect("it has an example");
    let block = block.split("```").next().unwrap();
    assert!(block.contains("localhost:8600"), "{block}");
    block.replace("localhost:8600", &server.to_string())
}
