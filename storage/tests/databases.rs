//! Databases to test on: files, and servers that the tests start for themselves.

use nasgen_storage::{Storage, connect};
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU32, Ordering},
    },
};
use tempfile::TempDir;

/// An empty database. It goes when this is dropped.
pub(crate) struct Database {
    pub(crate) url: String,
    _kept: Box<dyn std::any::Any + Send + Sync>,
}

impl Database {
    /// A connection to it.
    pub(crate) fn connect(&self) -> Box<dyn Storage> {
        connect(&self.url).unwrap()
    }
}

/// One of each kind that can be had here.
pub(crate) fn all() -> Vec<(&'static str, Database)> {
    let all = [
        ("SQLite", sqlite()),
        ("PostgreSQL", postgres()),
        #[cfg(feature = "mysql")]
        ("MariaDB", mariadb()),
    ];
    all.into_iter().filter_map(|(name, database)| Some((name, database?))).collect()
}

/// A file.
pub(crate) fn sqlite() -> Option<Database> {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite:///{}", folder.path().join("study.db").display());
    Some(Database { url, _kept: Box::new(folder) })
}

/// A database of a server that all tests of this process share.
pub(crate) fn postgres() -> Option<Database> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    shared(&SHARED, Server::postgres)
}

/// The same of MariaDB.
#[cfg(feature = "mysql")]
pub(crate) fn mariadb() -> Option<Database> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    shared(&SHARED, Server::mariadb)
}

fn shared(shared: &Mutex<Weak<Server>>, start: fn() -> Option<Server>) -> Option<Database> {
    let mut shared = shared.lock().unwrap();
    let server = match shared.upgrade() {
        Some(server) => server,
        None => Arc::new(start()?),
    };
    *shared = Arc::downgrade(&server);
    Some(Server::database(&server))
}

/// Says that a test is skipped because `what` is missing, which is a failure where the environment's
/// `NASGEN_REQUIRE` names it.
pub(crate) fn missing(what: &str) {
    let required = std::env::var("NASGEN_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|name| name == what), "NASGEN_REQUIRE names {what}, which is not installed");
    println!("skipped: {what} is not installed");
}

/// A server with its data in a folder of its own, reached by a socket there.
pub(crate) struct Server {
    kind: Kind,
    folder: TempDir,
    programs: PathBuf,
    /// A shell that runs the server for as long as this process lives, however it ends.
    keeper: Child,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Postgres,
    #[cfg(feature = "mysql")]
    Mariadb,
}

impl Server {
    /// A PostgreSQL, if one is installed.
    pub(crate) fn postgres() -> Option<Self> {
        let Some(programs) = folder_of("pg_ctl", "/usr/lib/postgresql/*/bin") else {
            missing("postgres");
            return None;
        };
        let start = r#"
            "$PROGRAMS/initdb" -D "$FOLDER/data" -U postgres -A trust -E UTF8 --no-sync
            "$PROGRAMS/pg_ctl" -D "$FOLDER/data" -l "$FOLDER/log" -w start -o "$OPTIONS""#;
        let stop = r#""$PROGRAMS/pg_ctl" -D "$FOLDER/data" -m immediate stop"#;
        Some(Self::start(Kind::Postgres, "postgres", programs, start, stop))
    }

    /// A MariaDB, if one is installed.
    #[cfg(feature = "mysql")]
    fn mariadb() -> Option<Self> {
        let Some(programs) = folder_of("mariadbd", "/usr/sbin") else {
            missing("mariadb");
            return None;
        };
        let start = r#"
            mariadb-install-db --no-defaults --datadir="$FOLDER/data" --auth-root-authentication-method=normal
            "$PROGRAMS/mariadbd" --no-defaults --datadir="$FOLDER/data" --socket="$FOLDER/socket" --skip-networking \
                --pid-file="$FOLDER/pid" --innodb-flush-log-at-trx-commit=0 </dev/null &
            until test -S "$FOLDER/socket"; do kill -0 $! && sleep 0.1; done"#;
        let stop = r#"kill -9 "$(cat "$FOLDER/pid")""#;
        Some(Self::start(Kind::Mariadb, "mysql", programs, start, stop))
    }

    fn start(kind: Kind, user: &str, programs: PathBuf, start: &str, stop: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let script = format!(
            "set -e; trap '' INT\n{{ {start}\n}} >\"$FOLDER/start.log\" 2>&1\necho ready; cat; {stop} >/dev/null 2>&1; rm -rf \"$FOLDER\""
        );
        let mut command = as_user(user, folder.path());
        let mut keeper = command
            .args(["sh", "-c", &script])
            .env("FOLDER", folder.path())
            .env("PROGRAMS", &programs)
            .env("OPTIONS", postgres_options(folder.path()))
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let log = || std::fs::read_to_string(folder.path().join("start.log")).unwrap_or_default();
        assert_eq!(line, "ready\n", "the server did not start:\n{}", log());
        Self { kind, folder, programs, keeper }
    }

    /// A new database of this server.
    pub(crate) fn database(server: &Arc<Self>) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("study{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let socket = server.folder.path().display();
        let url = match server.kind {
            Kind::Postgres => {
                server.command("psql", &["-h", &socket.to_string(), "-U", "postgres", "-c"], &name);
                format!("postgresql+psycopg2://postgres@/{name}?host={socket}")
            }
            #[cfg(feature = "mysql")]
            Kind::Mariadb => {
                let socket = format!("{socket}/socket");
                server.command("mariadb", &["--no-defaults", "-u", "root", "-S", &socket, "-e"], &name);
                format!("mysql+pymysql://root@localhost/{name}?charset=utf8mb4&unix_socket={socket}")
            }
        };
        Database { url, _kept: Box::new(Arc::clone(server)) }
    }

    fn command(&self, program: &str, arguments: &[&str], name: &str) {
        let installed = self.programs.join(program);
        let program = if installed.exists() { installed } else { program.into() };
        let create = match self.kind {
            Kind::Postgres => format!("CREATE DATABASE {name}"),
            #[cfg(feature = "mysql")]
            Kind::Mariadb => format!("CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"),
        };
        let done = Command::new(program).args(arguments).arg(create).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Stops PostgreSQL as a crash would, or in order, and starts it again.
    pub(crate) fn restart(&self, mode: &str) {
        let data = self.folder.path().join("data");
        let options = postgres_options(self.folder.path());
        let done = as_user("postgres", self.folder.path())
            .arg(self.programs.join("pg_ctl"))
            .args(["-m", mode, "-w", "restart", "-o", &options, "-D"])
            .arg(&data)
            .arg("-l")
            .arg(self.folder.path().join("log"))
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

fn postgres_options(folder: &Path) -> String {
    // Nothing here must outlive a power cut.
    format!("-F -c listen_addresses='' -c unix_socket_directories='{}' -c max_connections=200", folder.display())
}

impl Drop for Server {
    fn drop(&mut self) {
        // The keeper's input ends, and it stops the server.
        drop(self.keeper.stdin.take());
        self.keeper.wait().unwrap();
    }
}

/// Servers refuse to run as root: a command for a user who owns `folder` then.
fn as_user(user: &str, folder: &Path) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return Command::new("env");
    }
    let owned = Command::new("chown").arg(user).arg(folder).status().unwrap();
    assert!(owned.success(), "there is no user {user}");
    let mut command = Command::new("runuser");
    command.args(["-u", user, "--"]);
    command
}

/// The folder in which `program` is, on the path or where Debian puts it.
fn folder_of(program: &str, place: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    let debian = || {
        let listed = Command::new("sh").args(["-c", &format!("ls {place}/{program}")]).output().ok()?;
        let files = String::from_utf8(listed.stdout).ok()?;
        files.lines().last().map(PathBuf::from)
    };
    // A link on the path leads to the folder where the rest is.
    found.or_else(debian)?.canonicalize().ok()?.parent().map(Path::to_owned)
}
