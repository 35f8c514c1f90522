//! What people read: tables.

mod blocks;
mod network;

pub use blocks::{block_details, block_list};
pub use network::network_table;
