//! The tables: Optuna's to the letter, and nasgen's own beside them.

use crate::{
    Error, Result,
    dialect::{Dialect, insert},
    driver::Driver,
};

/// Optuna's version of the schema, unchanged since 3.2.
const SCHEMA_VERSION: i64 = 12;
/// The newest of the migrations that Optuna names.
const REVISION: &str = "v3.2.0.a";
/// The version of the tables `nasgen_*`.
const OWN_VERSION: i64 = 1;

/// Optuna's tables. What stands in braces depends on the dialect.
const OPTUNA: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS studies (study_id {id}, study_name VARCHAR(512) NOT NULL, PRIMARY KEY (study_id))",
    "CREATE UNIQUE INDEX IF NOT EXISTS ix_studies_study_name ON studies (study_name)",
    "CREATE TABLE IF NOT EXISTS version_info (version_info_id INTEGER NOT NULL, schema_version INTEGER, \
     library_version VARCHAR(256), PRIMARY KEY (version_info_id), CHECK (version_info_id=1))",
    "CREATE TABLE IF NOT EXISTS study_directions (study_direction_id {id}, direction {direction} NOT NULL, \
     study_id INTEGER NOT NULL, objective INTEGER NOT NULL, PRIMARY KEY (study_direction_id), \
     UNIQUE (study_id, objective), FOREIGN KEY(study_id) REFERENCES studies (study_id))",
    "CREATE TABLE IF NOT EXISTS study_user_attributes (study_user_attribute_id {id}, study_id INTEGER, \
     \"key\" VARCHAR(512), value_json TEXT, PRIMARY KEY (study_user_attribute_id), UNIQUE (study_id, \"key\"), \
     FOREIGN KEY(study_id) REFERENCES studies (study_id))",
    "CREATE TABLE IF NOT EXISTS study_system_attributes (study_system_attribute_id {id}, study_id INTEGER, \
     \"key\" VARCHAR(512), value_json TEXT, PRIMARY KEY (study_system_attribute_id), UNIQUE (study_id, \"key\"), \
     FOREIGN KEY(study_id) REFERENCES studies (study_id))",
    "CREATE TABLE IF NOT EXISTS trials (trial_id {id}, number INTEGER, study_id INTEGER, state {state} NOT NULL, \
     datetime_start {time}, datetime_complete {time}, PRIMARY KEY (trial_id), \
     FOREIGN KEY(study_id) REFERENCES studies (study_id))",
    "CREATE INDEX IF NOT EXISTS ix_trials_study_id ON trials (study_id)",
    "CREATE TABLE IF NOT EXISTS trial_user_attributes (trial_user_attribute_id {id}, trial_id INTEGER, \
     \"key\" VARCHAR(512), value_json TEXT, PRIMARY KEY (trial_user_attribute_id), UNIQUE (trial_id, \"key\"), \
     FOREIGN KEY(trial_id) REFERENCES trials (trial_id))",
    "CREATE TABLE IF NOT EXISTS trial_system_attributes (trial_system_attribute_id {id}, trial_id INTEGER, \
     \"key\" VARCHAR(512), value_json TEXT, PRIMARY KEY (trial_system_attribute_id), UNIQUE (trial_id, \"key\"), \
     FOREIGN KEY(trial_id) REFERENCES trials (trial_id))",
    "CREATE TABLE IF NOT EXISTS trial_params (param_id {id}, trial_id INTEGER, param_name VARCHAR(512), \
     param_value {real}, distribution_json TEXT, PRIMARY KEY (param_id), UNIQUE (trial_id, param_name), \
     FOREIGN KEY(trial_id) REFERENCES trials (trial_id))",
    "CREATE TABLE IF NOT EXISTS trial_values (trial_value_id {id}, trial_id INTEGER NOT NULL, \
     objective INTEGER NOT NULL, value {real}, value_type {value_type} NOT NULL, PRIMARY KEY (trial_value_id), \
     UNIQUE (trial_id, objective), FOREIGN KEY(trial_id) REFERENCES trials (trial_id))",
    "CREATE TABLE IF NOT EXISTS trial_intermediate_values (trial_intermediate_value_id {id}, \
     trial_id INTEGER NOT NULL, step INTEGER NOT NULL, intermediate_value {real}, \
     intermediate_value_type {intermediate_type} NOT NULL, PRIMARY KEY (trial_intermediate_value_id), \
     UNIQUE (trial_id, step), FOREIGN KEY(trial_id) REFERENCES trials (trial_id))",
    "CREATE TABLE IF NOT EXISTS trial_heartbeats (trial_heartbeat_id {id}, trial_id INTEGER NOT NULL, \
     heartbeat {time} NOT NULL, PRIMARY KEY (trial_heartbeat_id), UNIQUE (trial_id), \
     FOREIGN KEY(trial_id) REFERENCES trials (trial_id))",
    "CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL, \
     CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))",
];

/// nasgen's own. They go when the rows go that they speak of, whoever deletes those.
const OWN: &[&str] = &[
    // Who may write a trial. `seconds` after a sign of life others may take it; `expires` is NULL while nobody
    // has it. Rows stay when trials are finished: a worker that asks twice is told that it was heard.
    "CREATE TABLE IF NOT EXISTS nasgen_leases (trial_id INTEGER NOT NULL PRIMARY KEY, token BIGINT NOT NULL, \
     attempt INTEGER NOT NULL, worker VARCHAR(512) NOT NULL, seconds {real} NOT NULL, expires {real}, \
     FOREIGN KEY(trial_id) REFERENCES trials (trial_id) ON DELETE CASCADE)",
    "CREATE INDEX IF NOT EXISTS nasgen_leases_expires ON nasgen_leases (expires)",
    "CREATE TABLE IF NOT EXISTS nasgen_paused (trial_id INTEGER NOT NULL PRIMARY KEY, \
     FOREIGN KEY(trial_id) REFERENCES trials (trial_id) ON DELETE CASCADE)",
    // Reports of pruned trials of several objectives: Optuna's TPE fails where such a trial has any.
    "CREATE TABLE IF NOT EXISTS nasgen_curves (trial_id INTEGER NOT NULL, step INTEGER NOT NULL, value {real}, \
     value_type VARCHAR(8) NOT NULL, PRIMARY KEY (trial_id, step), \
     FOREIGN KEY(trial_id) REFERENCES trials (trial_id) ON DELETE CASCADE)",
    "CREATE TABLE IF NOT EXISTS nasgen_objectives (study_id INTEGER NOT NULL, objective INTEGER NOT NULL, \
     known INTEGER NOT NULL, PRIMARY KEY (study_id, objective), \
     FOREIGN KEY(study_id) REFERENCES studies (study_id) ON DELETE CASCADE)",
    // Which texts among the choices of a param are lists and maps spelled as JSON.
    "CREATE TABLE IF NOT EXISTS nasgen_choices (study_id INTEGER NOT NULL, param_name VARCHAR(512) NOT NULL, \
     texts TEXT NOT NULL, PRIMARY KEY (study_id, param_name), \
     FOREIGN KEY(study_id) REFERENCES studies (study_id) ON DELETE CASCADE)",
    "CREATE TABLE IF NOT EXISTS nasgen_version (version INTEGER NOT NULL PRIMARY KEY)",
];

/// SQLite keeps no promise of a foreign key to programs that do not ask for it, Optuna among them, and gives
/// ids of deleted rows away again: without these a new trial would inherit a lease.
const OWN_SQLITE: &[&str] = &[
    "CREATE TRIGGER IF NOT EXISTS nasgen_trial_deleted AFTER DELETE ON trials BEGIN \
     DELETE FROM nasgen_leases WHERE trial_id = OLD.trial_id; \
     DELETE FROM nasgen_paused WHERE trial_id = OLD.trial_id; \
     DELETE FROM nasgen_curves WHERE trial_id = OLD.trial_id; END",
    "CREATE TRIGGER IF NOT EXISTS nasgen_study_deleted AFTER DELETE ON studies BEGIN \
     DELETE FROM nasgen_objectives WHERE study_id = OLD.study_id; \
     DELETE FROM nasgen_choices WHERE study_id = OLD.study_id; END",
];

/// Optuna's tables that hold a part of a trial, and then the others that hold a part of a study, in the order
/// in which rows can be deleted.
pub(crate) const PARTS_OF_TRIALS: [&str; 6] = [
    "trial_user_attributes",
    "trial_system_attributes",
    "trial_params",
    "trial_values",
    "trial_intermediate_values",
    "trial_heartbeats",
];
/// See [`PARTS_OF_TRIALS`].
pub(crate) const PARTS_OF_STUDIES: [&str; 5] =
    ["trials", "study_directions", "study_user_attributes", "study_system_attributes", "studies"];

/// PostgreSQL's enumerations, by the names that Optuna gives them.
const ENUMERATIONS: [(&str, &str, &str); 4] = [
    ("{direction}", "studydirection", "'NOT_SET','MINIMIZE','MAXIMIZE'"),
    ("{state}", "trialstate", "'RUNNING','COMPLETE','PRUNED','FAIL','WAITING'"),
    ("{value_type}", "trialvaluetype", "'FINITE','INF_POS','INF_NEG'"),
    ("{intermediate_type}", "trialintermediatevaluetype", "'FINITE','INF_POS','INF_NEG','NAN'"),
];

/// Makes what is missing, and refuses tables of other versions. Several workers may do it at once, and one that
/// died amidst it leaves nothing that the next cannot complete.
pub(crate) fn prepare(driver: &mut dyn Driver, create: bool) -> Result<()> {
    let dialect = driver.dialect();
    if own_version(driver)?.is_none() {
        if revision(driver)?.is_none() {
            refuse_foreign(driver)?;
            if !create {
                return Err(no_studies("no tables of studies"));
            }
            create_optuna(driver)?;
        }
        check_optuna(driver)?;
        for statement in OWN {
            driver.batch(&spelled(statement, dialect))?;
        }
        if dialect == Dialect::Sqlite {
            OWN_SQLITE.iter().try_for_each(|statement| driver.batch(statement))?;
        }
        driver.execute(&insert("nasgen_version", &["version"], 1), &[OWN_VERSION.into()])?;
    }
    check_optuna(driver)?;
    check_own(driver)
}

/// Tables of our names that are somebody else's stay as they are.
fn refuse_foreign(driver: &mut dyn Driver) -> Result<()> {
    for (table, columns) in [("studies", "study_id, study_name"), ("trials", "trial_id, study_id, state")] {
        let own = format!("SELECT {columns} FROM {table} WHERE 1 = 0");
        if exists(driver, table)? && driver.query(&own, &[], true).is_err() {
            return Err(no_studies("tables of another program"));
        }
    }
    Ok(())
}

fn no_studies(found: &str) -> Error {
    Error::Version {
        found: found.to_owned(),
        wanted: format!("Optuna's at revision {REVISION}"),
        advice: "name the file or database that a search wrote, or another one for a new study",
    }
}

fn create_optuna(driver: &mut dyn Driver) -> Result<()> {
    let dialect = driver.dialect();
    if dialect == Dialect::Postgres {
        for (_, name, values) in ENUMERATIONS {
            driver.batch(&format!(
                "DO $$ BEGIN CREATE TYPE {name} AS ENUM ({values}); EXCEPTION WHEN duplicate_object THEN NULL; END $$"
            ))?;
        }
    }
    for statement in OPTUNA {
        driver.batch(&spelled(statement, dialect))?;
    }
    let version = ["version_info_id", "schema_version", "library_version"];
    let library = concat!("nasgen-", env!("CARGO_PKG_VERSION"));
    driver.execute(
        &dialect.upsert("version_info", &version[..1], &version[1..], 1),
        &[1_i64.into(), SCHEMA_VERSION.into(), library.into()],
    )?;
    driver.execute(&insert("alembic_version", &["version_num"], 1), &[REVISION.into()])?;
    Ok(())
}

fn spelled(statement: &str, dialect: Dialect) -> String {
    let (id, real, time) = match dialect {
        Dialect::Sqlite => ("INTEGER NOT NULL", "FLOAT", "DATETIME"),
        Dialect::Postgres => ("SERIAL NOT NULL", "FLOAT(53)", "TIMESTAMP WITHOUT TIME ZONE"),
        Dialect::Mysql => ("INTEGER NOT NULL AUTO_INCREMENT", "FLOAT(53)", "DATETIME"),
    };
    let text = statement.replace("{id}", id).replace("{real}", real).replace("{time}", time);
    ENUMERATIONS.iter().fold(text, |text, (mark, name, values)| {
        let longest = values.split(',').map(|value| value.len() - 2).max().unwrap_or(0);
        let kind = match dialect {
            Dialect::Sqlite => format!("VARCHAR({longest})"),
            Dialect::Postgres => (*name).to_owned(),
            Dialect::Mysql => format!("ENUM({values})"),
        };
        text.replace(mark, &kind)
    })
}

fn exists(driver: &mut dyn Driver, table: &str) -> Result<bool> {
    let statement = match driver.dialect() {
        Dialect::Sqlite => "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?",
        Dialect::Postgres => {
            "SELECT 1 FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = ?"
        }
        Dialect::Mysql => "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?",
    };
    Ok(!driver.query(statement, &[table.into()], true)?.is_empty())
}

fn revision(driver: &mut dyn Driver) -> Result<Option<String>> {
    if !exists(driver, "alembic_version")? {
        return Ok(None);
    }
    let rows = driver.query("SELECT version_num FROM alembic_version", &[], true)?;
    rows.first().map(|row| Ok(row.text(0)?.to_owned())).transpose()
}

fn check_optuna(driver: &mut dyn Driver) -> Result<()> {
    let found = revision(driver)?.unwrap_or_default();
    if found == REVISION {
        return Ok(());
    }
    Err(Error::Version {
        found: format!("Optuna's tables at revision {found:?}"),
        wanted: REVISION.to_owned(),
        advice: "run `optuna storage upgrade --storage URL` with Optuna 3.2 or later, or use a newer nasgen",
    })
}

fn own_version(driver: &mut dyn Driver) -> Result<Option<i64>> {
    if !exists(driver, "nasgen_version")? {
        return Ok(None);
    }
    let rows = driver.query("SELECT version FROM nasgen_version", &[], true)?;
    rows.first().map(|row| row.int(0)).transpose()
}

fn check_own(driver: &mut dyn Driver) -> Result<()> {
    match own_version(driver)? {
        Some(OWN_VERSION) => Ok(()),
        found => Err(Error::Version {
            found: format!("nasgen's tables at version {}", found.unwrap_or(0)),
            wanted: OWN_VERSION.to_string(),
            advice: "use the nasgen that wrote it, or a newer one",
        }),
    }
}
