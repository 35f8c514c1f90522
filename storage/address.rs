//! Where a storage is, as users and Optuna write it.

use crate::{Error, Result, Storage, driver::Driver, sqlite::Sqlite, store::Store};
use std::path::Path;

/// The storage at `url`, with its tables; a file of SQLite is created with its folder.
///
/// `url` is a file, or an address as Optuna has it: `sqlite:///file.db` (`sqlite:////file.db` from the root),
/// `postgresql://user:password@host:port/database`, and with the feature `mysql` `mysql://…` or `mariadb://…`.
/// A driver of Python's (`postgresql+psycopg2://`) may be named and is ignored. Connections are not encrypted:
/// a server that wants TLS is reached through a tunnel.
///
/// # Errors
/// Where there is nothing, or tables of another version.
pub fn connect(url: &str) -> Result<Box<dyn Storage>> {
    open(url, true)
}

/// The same where a file of SQLite must be there already.
///
/// # Errors
/// As [`connect`], and where there is no file.
pub fn connect_existing(url: &str) -> Result<Box<dyn Storage>> {
    open(url, false)
}

fn open(url: &str, create: bool) -> Result<Box<dyn Storage>> {
    Ok(Box::new(Store::open(driver(url, create)?)?))
}

fn driver(url: &str, create: bool) -> Result<Box<dyn Driver>> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return file(url, url, create);
    };
    let database = scheme.split('+').next().unwrap_or(scheme);
    match database {
        "sqlite" => match rest.strip_prefix('/') {
            Some(path) if !path.is_empty() => file(path, url, create),
            _ => Err(wrong(url, "wanted a file: sqlite:///study.db, or sqlite:////folder/study.db from the root")),
        },
        "postgresql" | "postgres" => Ok(Box::new(crate::postgresql::Postgres::open(&format!("postgresql://{rest}"))?)),
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => Ok(Box::new(crate::mariadb::Mysql::open(&format!("mysql://{}", mysql_options(rest)))?)),
        #[cfg(not(feature = "mysql"))]
        "mysql" | "mariadb" => Err(wrong(url, "this nasgen was built without MySQL: build it with --features mysql")),
        _ => Err(wrong(url, "wanted a file, or an address that begins with sqlite:///, postgresql:// or mysql://")),
    }
}

fn file(path: &str, url: &str, create: bool) -> Result<Box<dyn Driver>> {
    if !create && !Path::new(path).is_file() {
        return Err(wrong(url, "there is no such file"));
    }
    Ok(Box::new(Sqlite::open(Path::new(path), create)?))
}

/// Options that Python's drivers know and the Rust one does not.
#[cfg(feature = "mysql")]
fn mysql_options(rest: &str) -> String {
    let Some((place, options)) = rest.split_once('?') else { return rest.to_owned() };
    let options: Vec<String> = options
        .split('&')
        .filter(|option| !option.starts_with("charset="))
        .map(|option| option.replace("unix_socket=", "socket="))
        .collect();
    if options.is_empty() { place.to_owned() } else { format!("{place}?{}", options.join("&")) }
}

fn wrong(url: &str, why: &str) -> Error {
    Error::Address { url: without_password(url), why: why.to_owned() }
}

/// `url` as it may be shown and logged.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let Some((user, place)) = rest.rsplit_once('@') else { return url.to_owned() };
    match user.split_once(':') {
        Some((name, _)) => format!("{scheme}://{name}:***@{place}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("postgresql://me:p@ss:w@host/db"), "postgresql://me:***@host/db");
        assert_eq!(without_password("postgresql://me@host/db"), "postgresql://me@host/db");
        assert_eq!(without_password("studies/a.db"), "studies/a.db");
    }

    #[test]
    fn addresses_that_lead_nowhere_say_what_to_write() {
        for (url, word) in [
            ("redis://host", "postgresql://"),
            ("sqlite://", "sqlite:///"),
            ("sqlite:///nowhere/a.db", "no such file"),
            ("nowhere/a.db", "no such file"),
        ] {
            let error = connect_existing(url).err().unwrap().to_string();
            assert!(error.contains(word), "{url}: {error}");
        }
    }
}
