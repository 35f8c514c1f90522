//! Where a storage is, as users and Optuna write it.

use crate::{Error, Result, Storage, driver::Driver, sqlite::Sqlite, store::Store};
use std::path::Path;

/// What SQLite says of a file that is something else.
const NO_DATABASE: &str = "file is not a database";

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
    let store = driver(url, create).and_then(|driver| Store::open(driver, create, without_password(url)));
    Ok(Box::new(store.map_err(|error| named(url, error))?))
}

/// The error with the place that it is about.
fn named(url: &str, error: Error) -> Error {
    match error {
        Error::Database { message, .. } if message.contains(NO_DATABASE) => {
            wrong(url, "this file is no database of SQLite")
        }
        other => other.at(&without_password(url)),
    }
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
    // Looking must not make a database of it.
    let has_log = || Path::new(&format!("{path}-wal")).exists();
    if !create && std::fs::metadata(path).is_ok_and(|file| file.len() == 0) && !has_log() {
        return Err(wrong(url, "the file is empty: no search wrote a study there"));
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
    fn what_is_no_storage_is_named_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("notes.txt"), "no database, but long enough to have a header of its own\n".repeat(20))
            .unwrap();
        std::fs::write(path("empty.db"), "").unwrap();
        let foreign = rusqlite::Connection::open(path("foreign.db")).unwrap();
        foreign.execute_batch("CREATE TABLE trials (id INTEGER); CREATE TABLE studies (name TEXT)").unwrap();
        drop(foreign);
        for (name, words) in [
            ("notes.txt", "no database of SQLite"),
            ("empty.db", "the file is empty"),
            ("foreign.db", "tables of another program"),
        ] {
            let before = std::fs::read(path(name)).unwrap();
            let error = connect_existing(&path(name)).err().unwrap();
            assert!(matches!(error, Error::Address { .. } | Error::Version { .. }), "{error:?}");
            let said = error.to_string();
            assert!(said.contains(words) && !said.contains("SELECT"), "{name}: {said}");
            if name != "foreign.db" {
                assert_eq!(std::fs::read(path(name)).unwrap(), before, "{name}");
            }
        }
        assert!(connect(&path("foreign.db")).err().unwrap().to_string().contains("tables of another program"));
        drop(connect(&path("own.db")).unwrap());
        drop(connect_existing(&path("own.db")).unwrap());
    }

    #[test]
    fn what_fails_later_names_the_storage_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("study.db").display().to_string();
        let mut storage = connect(&path).unwrap();
        rusqlite::Connection::open(&path).unwrap().execute_batch("ALTER TABLE studies RENAME TO gone").unwrap();
        let said = storage.studies().unwrap_err().to_string();
        assert!(said.matches(&path).count() == 1 && said.contains("no such table"), "{said}");
    }

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
