//! The manual: the project's pages, rendered from Markdown. The server serves them at `/docs`, and
//! the Debian package installs them as files, so the manual always matches the binary's version.
//!
//! The pages are compiled into the binary, so they contain no outside input; raw HTML in a page is
//! shown as text. They are rendered once, at first use: that takes a few milliseconds for all
//! pages, whereas a build script would add the Markdown parser to every build.

mod pages;
mod pictures;
mod render;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

pub use pages::{Form, ManualPage, PAGES, SCRIPT_NAME, STYLE_NAME, WHOLE};
use render::Rendered;

const TEMPLATE: &str = include_str!("manual/page.html");
const CONTENTS_DEPTH: u8 = 3;

/// The style sheet: that of the server's other pages, plus rules for the manual.
pub static STYLE: LazyLock<String> = LazyLock::new(|| {
    let rows = include_str!("manual/style.css");
    format!("{}{rows}", include_str!("serve/pages/ui/shared.css"))
});

/// The script of the served pages: shows the address of the server in place of `localhost:8600`.
pub const SCRIPT: &str = include_str!("manual/address.js");

/// The navigation of the server's pages: `{{root}}` is the way to `/`, `{{archive}}` a link to the
/// archive, or nothing.
pub const NAVIGATION: &str = include_str!("serve/pages/ui/nav.html");

/// The icon of all pages, an SVG.
pub const ICON_FILE: &str = include_str!("serve/pages/ui/icon.svg");

/// The icon as a `data:` URL.
pub static ICON: LazyLock<String> = LazyLock::new(|| pictures::embedded_icon(ICON_FILE));

/// Returns the HTML of a page by its name; `None` if the page does not exist.
#[must_use]
pub fn document(name: &str, form: Form) -> Option<String> {
    if name == WHOLE {
        return Some(whole(form));
    }
    let page = PAGES.iter().find(|page| page.name == name)?;
    let rendered = render::page(page, form, false);
    Some(filled(name, page.title, &contents(&rendered), &rendered.html, form))
}

/// Renders all pages into one document.
fn whole(form: Form) -> String {
    let mut articles = String::new();
    let mut list = String::new();
    for page in PAGES {
        let rendered = render::page(page, form, true);
        let id = render::section(page);
        articles.extend(["<article id=\"", id, "\">\n", &rendered.html, "</article>\n"]);
        let title = escaped(page.title);
        list.push_str(&item(2, id, &title));
    }
    filled(WHOLE, "The whole manual", &list, &articles, form)
}

fn filled(name: &str, title: &str, contents: &str, body: &str, form: Form) -> String {
    let depth = usize::from(!name.is_empty());
    let served = form == Form::Served;
    let root = if depth == 0 { "./" } else { "../" };
    // The manual is the same on every server, so that it has no link to an archive.
    let site = NAVIGATION.replace("{{root}}", root).replace("{{archive}}", "");
    let site = site.replace("data-to=\"docs\"", "aria-current=\"true\"");
    let site = if served { site } else { String::new() };
    let here = render::LinkingPage { name, form };
    let script = format!("<script src=\"{}\" defer></script>\n", here.to(SCRIPT_NAME));
    let script = if served { script } else { String::new() };
    let all = PAGES.iter().map(|page| (page.name, page.title));
    let all = all.chain([(WHOLE, "All on one page")]);
    let pages = all.map(|(other, title)| {
        let current = if other == name { " aria-current=\"page\"" } else { "" };
        let to = here.to(other);
        format!("<li><a href=\"{to}\"{current}>{}</a></li>\n", escaped(title))
    });
    let pages = pages.collect::<Vec<_>>().concat();
    // The body is inserted last, so that its text is never mistaken for a placeholder.
    TEMPLATE
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{title}}", &escaped(title))
        .replace("{{icon}}", &ICON)
        .replace("{{style}}", &here.to(STYLE_NAME))
        .replace("{{script}}", &script)
        .replace("{{site}}", &site)
        .replace("{{pages}}", &pages)
        .replace("{{contents}}", contents)
        .replace("{{body}}", body)
}

/// Renders the table of contents: all headings below the title.
fn contents(rendered: &Rendered) -> String {
    let shown = rendered.headings.iter();
    let shown = shown.filter(|heading| (2..=CONTENTS_DEPTH).contains(&heading.level));
    let items = shown.map(|heading| item(heading.level, &heading.id, &escaped(&heading.text)));
    items.collect::<Vec<_>>().concat()
}

/// Renders an entry of the table of contents; `title` is HTML.
fn item(level: u8, id: &str, title: &str) -> String {
    format!("<li class=\"level-{level}\"><a href=\"#{id}\">{title}</a></li>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
