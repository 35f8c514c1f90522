//! The frame of a page, and what stands in it beside charts and tables.

use base64::{Engine, prelude::BASE64_STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A part of a page, with a heading that can be linked to.
pub struct Section {
    /// Of the heading, in letters and hyphens.
    pub id: &'static str,
    /// The heading.
    pub title: String,
    /// What stands under it.
    pub body: Markup,
}

/// A whole page. `summary` is what a reader should know first.
pub fn page(title: &str, summary: &Markup, sections: &[Section]) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                // Else a browser asks for one.
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    (summary)
                    nav { @for section in sections { a href={ "#" (section.id) } { (section.title) } " " } }
                }
                main {
                    @for section in sections {
                        section id=(section.id) { h2 { (section.title) } (section.body) }
                    }
                }
            }
        }
    };
    page.into_string()
}

/// A picture with a caption, from the bytes of a PNG file. Small pictures are shown enlarged, by whole pixels.
pub fn picture(png: &[u8], description: &str, caption: &Markup) -> Markup {
    let source = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png));
    html! { figure class="picture" { img src=(source) alt=(description); figcaption { (caption) } } }
}

/// Names and values, side by side.
pub fn facts(facts: &[(&str, String)]) -> Markup {
    html! { dl { @for (name, value) in facts { div { dt { (name) } dd { (value) } } } } }
}

/// Nothing may be fetched, and nothing runs.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// Light and dark; narrow screens; colours of charts as variables.
const STYLE: &str = include_str!("page.css");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_escaped() {
        let hostile = "<script>alert('&\"')</script>";
        let body = html! {
            (picture(b"png", hostile, &html! { (hostile) }))
            (facts(&[("name", hostile.to_owned())]))
        };
        let section = Section { id: "one", title: hostile.into(), body };
        let page = page(hostile, &html! { (hostile) }, &[section]);
        assert!(!page.contains("<script") && page.matches("&lt;script&gt;").count() == 7, "{page}");
    }
}
