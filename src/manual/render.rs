//! One page from Markdown to HTML: anchors for headings, links between pages, scrolling tables.

use std::collections::HashMap;

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

use super::{Form, PAGES, Page, STYLE_NAME};

/// A heading of a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heading {
    /// 1 for the title, 2 for a section …
    pub(super) level: u8,
    /// The anchor, as GitHub makes it.
    pub(super) id: String,
    pub(super) text: String,
}

/// What a page became.
pub(super) struct Rendered {
    pub(super) html: String,
    pub(super) headings: Vec<Heading>,
}

/// The page that a link stands on.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) name: &'a str,
    pub(super) form: Form,
}

impl Here<'_> {
    /// The relative address of another page, or of the style sheet.
    pub(super) fn to(self, other: &str) -> String {
        match (self.form, other) {
            (Form::Files, "") => "index.html".to_owned(),
            (Form::Files, STYLE_NAME) => STYLE_NAME.to_owned(),
            (Form::Files, other) => format!("{other}.html"),
            // The first page is `/docs`, the others are below it.
            (Form::Served, "") if self.name.is_empty() => "docs".to_owned(),
            (Form::Served, "") => "../docs".to_owned(),
            (Form::Served, other) if self.name.is_empty() => format!("docs/{other}"),
            (Form::Served, other) => other.to_owned(),
        }
    }
}

/// The anchor of a page in the document of all pages.
pub(super) fn section(page: &Page) -> &'static str {
    if page.name.is_empty() { "start" } else { page.name }
}

/// Renders a page; for the document of all pages (`in_whole`) its anchors begin with its name.
pub(super) fn page(page: &Page, form: Form, in_whole: bool) -> Rendered {
    let parser = Parser::new_ext(page.text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH);
    let mut events: Vec<Event<'_>> = parser.collect();
    let prefix = if in_whole { format!("{}-", section(page)) } else { String::new() };
    let headings = anchor(&mut events, &prefix);
    let links = Links { page, form, in_whole, is_link: Vec::new() };
    let mut rendered = String::new();
    html::push_html(&mut rendered, links.rewrite(events).into_iter());
    Rendered { html: rendered, headings }
}

/// Gives each heading its anchor, and returns them all.
fn anchor(events: &mut [Event<'_>], prefix: &str) -> Vec<Heading> {
    let mut headings: Vec<Heading> = Vec::new();
    let mut taken: HashMap<String, usize> = HashMap::new();
    for at in 0..events.len() {
        let Event::Start(Tag::Heading { level, .. }) = &events[at] else { continue };
        let level = *level as u8;
        let words = events[at + 1..].iter();
        let words = words.take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
        let text: String = words
            .filter_map(|event| match event {
                Event::Text(text) | Event::Code(text) => Some(text.as_ref()),
                Event::SoftBreak => Some(" "),
                _ => None,
            })
            .collect();
        let bare = slug(&text);
        let count = taken.entry(bare.clone()).and_modify(|count| *count += 1).or_insert(0);
        let mut id = format!("{prefix}{bare}");
        if *count > 0 {
            id = format!("{id}-{count}");
        }
        if let Event::Start(Tag::Heading { id: place, .. }) = &mut events[at] {
            *place = Some(CowStr::from(id.clone()));
        }
        headings.push(Heading { level, id, text });
    }
    headings
}

/// The anchor of a heading by GitHub's rule: lower case, punctuation away, spaces to hyphens.
fn slug(text: &str) -> String {
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// What a link of a page leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// An address of the web, or a place that only the reader's machine knows.
    Elsewhere,
    /// A page of the manual, by its index, and the anchor on it.
    Page(usize, Option<String>),
    /// A file of the repository that is not a page.
    File(String),
}

/// Finds what a link on a page leads to.
pub(super) fn target(page: &Page, link: &str) -> Target {
    if link.contains("://") || link.starts_with("mailto:") {
        return Target::Elsewhere;
    }
    let (path, anchor) = match link.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor.to_owned())),
        None => (link, None),
    };
    let mut folders: Vec<&str> = page.file.split('/').collect();
    if !path.is_empty() {
        folders.pop();
        for word in path.split('/') {
            match word {
                ".." => drop(folders.pop()),
                "." | "" => {}
                word => folders.push(word),
            }
        }
    }
    let file = folders.join("/");
    match PAGES.iter().position(|page| page.file == file) {
        Some(index) => Target::Page(index, anchor),
        None => Target::File(file),
    }
}

struct Links<'a> {
    page: &'a Page,
    form: Form,
    in_whole: bool,
    /// Whether each open link stays one.
    is_link: Vec<bool>,
}

impl Links<'_> {
    fn rewrite(mut self, events: Vec<Event<'_>>) -> Vec<Event<'_>> {
        let mut out = Vec::with_capacity(events.len() + events.len() / 8);
        for event in events {
            match event {
                Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                    let address = self.address(&dest_url);
                    self.is_link.push(address.is_some());
                    let Some(address) = address else { continue };
                    let dest_url = CowStr::from(address);
                    out.push(Event::Start(Tag::Link { link_type, dest_url, title, id }));
                }
                // A link that says a file's path says the page's title instead.
                Event::Text(text) if !self.is_link.is_empty() => {
                    let named = PAGES.iter().find(|page| page.file == text.as_ref());
                    out.push(Event::Text(named.map_or(text, |page| page.title.into())));
                }
                Event::End(TagEnd::Link) => {
                    if self.is_link.pop() == Some(true) {
                        out.push(Event::End(TagEnd::Link));
                    }
                }
                // What a picture shows is said in words: the page itself is one link away.
                Event::Start(Tag::Image { .. }) => {
                    out.push(Event::InlineHtml("<span class=\"picture\">Picture: ".into()));
                }
                Event::End(TagEnd::Image) => out.push(Event::InlineHtml("</span>".into())),
                // A table or a block of code scrolls by itself, also by keyboard.
                Event::Start(Tag::Table(columns)) => {
                    out.push(Event::Html("<div class=\"table\" tabindex=\"0\">".into()));
                    out.push(Event::Start(Tag::Table(columns)));
                }
                Event::End(TagEnd::Table) => {
                    out.push(Event::End(TagEnd::Table));
                    out.push(Event::Html("</div>\n".into()));
                }
                Event::Start(Tag::CodeBlock(_)) => {
                    out.push(Event::Html("<pre tabindex=\"0\"><code>".into()));
                }
                Event::End(TagEnd::CodeBlock) => out.push(Event::Html("</code></pre>\n".into())),
                Event::Html(raw) | Event::InlineHtml(raw) => out.push(Event::Text(raw)),
                other => out.push(other),
            }
        }
        out
    }

    /// The address that a link gets; `None` where there is nothing that it could lead to.
    fn address(&self, link: &str) -> Option<String> {
        match target(self.page, link) {
            Target::Elsewhere => Some(link.to_owned()),
            Target::File(_) => None,
            Target::Page(index, anchor) if self.in_whole => {
                let section = section(&PAGES[index]);
                Some(anchor.map_or(format!("#{section}"), |a| format!("#{section}-{a}")))
            }
            Target::Page(index, anchor) => {
                let there = PAGES[index].name;
                let here = Here { name: self.page.name, form: self.form };
                let anchor = anchor.map(|anchor| format!("#{anchor}")).unwrap_or_default();
                let is_here = there == self.page.name && !anchor.is_empty();
                let path = if is_here { String::new() } else { here.to(there) };
                Some(format!("{path}{anchor}"))
            }
        }
    }
}
