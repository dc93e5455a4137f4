//! The book: every page stands in the summary, every entry of the summary is a page.
//!
//! in: docs/src/SUMMARY.md and the pages below docs/src; out: complaints.
//! **Invariant:** no page is lost, no link of the summary is dead.

use std::collections::BTreeSet;

use super::Complaint;

const SUMMARY: &str = "docs/src/SUMMARY.md";

/// `pages` are paths below docs/src.
pub(super) fn check(summary: &str, pages: &[String]) -> Vec<Complaint> {
    let linked: BTreeSet<&str> = summary
        .lines()
        .filter_map(|line| line.split_once("](")?.1.split(')').next())
        .map(|target| target.trim_start_matches("./"))
        .collect();
    let there: BTreeSet<&str> = pages.iter().map(String::as_str).filter(|page| *page != "SUMMARY.md").collect();
    let dead = linked.difference(&there).map(|page| Complaint::new(SUMMARY, format!("there is no page `{page}`")));
    let lost = there.difference(&linked).map(|page| Complaint::new(SUMMARY, format!("the page `{page}` stands in no entry")));
    dead.chain(lost).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn dead_links_and_lost_pages_are_found() {
        let pages = ["SUMMARY.md".to_owned(), "a.md".to_owned(), "b/c.md".to_owned()];
        assert_eq!(super::check("- [A](a.md)\n- [C](./b/c.md)\n", &pages), []);
        assert_eq!(super::check("- [A](a.md)\n- [D](d.md)\n", &pages).len(), 2);
    }
}
