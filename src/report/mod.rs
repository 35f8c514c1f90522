//! What people read: tables.

mod blocks;
mod evaluation;
pub mod html;
mod network;
mod space;
mod study_page;
mod survey;

pub use blocks::{block_details, block_list};
pub use evaluation::{answers_csv, evaluation_text};
pub use network::network_table;
pub use space::{count_text, space_report};
pub use study_page::StudyPage;
pub use survey::survey_text;
