//! A user's own training code: a program that is started once and scores one trial after the other.
//!
//! For each trial it reads one line of JSON, `{"trial":n,"config":"path","params":{…},"model_py":"path"}`
//! (`config` and `model_py` are null where the space gives no network), and answers with lines `{"step":k,"value":x}` and a
//! last one `{"value":x}` or `{"values":{…}}`. `{"prune":true}` is sent to it when it should stop; it then
//! answers with its last line at once. Everything else that it wants to say it says on stderr.

use super::scorer::{Assignment, Audience, Ending, Fault, FaultKind, Order, Score, Scorer};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

/// Lines of an evaluator that are kept for messages.
const LINES: usize = 20;
/// They are looked for in so many last bytes of what it complained.
const TAIL: u64 = 16 << 10;
/// How often a waiting search looks whether it was stopped.
const LOOK: Duration = Duration::from_millis(100);
/// How long an evaluator may take to end after it was asked to prune.
const GRACE: Duration = Duration::from_secs(60);
/// No line of the protocol is longer.
const LONGEST_LINE: usize = 1 << 20;

/// Writes the network of a trial as a PyTorch module beside its spec.
pub type WriteModule<'a> = dyn Fn(&Assignment<'_>, &Path) -> Result<(), String> + Sync + 'a;

/// A command that scores trials.
pub struct Evaluator<'a> {
    /// As a shell takes it.
    command: String,
    /// How long it may be silent.
    silence: Duration,
    /// What its one value is called.
    objective: String,
    write_module: &'a WriteModule<'a>,
    process: Option<Process>,
}

struct Process {
    child: Child,
    stdin: ChildStdin,
    /// Lines of stdout; ends with the process.
    answers: Receiver<String>,
    /// Its stderr. A file and not a pipe: what it wrote before an answer is there when the answer is read.
    complaints: File,
}

/// One line of an evaluator.
#[derive(Debug, PartialEq)]
enum Answer {
    Step(u64, f64),
    Last(BTreeMap<String, f64>),
}

impl<'a> Evaluator<'a> {
    /// `command` as a shell takes it, started when the first trial comes; it may be silent for `silence`. A last
    /// `{"value":x}` is the objective `objective`.
    pub fn new(command: &str, silence: Duration, objective: &str, write_module: &'a WriteModule<'a>) -> Self {
        let (command, objective) = (command.to_owned(), objective.to_owned());
        Self { command, silence, objective, write_module, process: None }
    }

    fn ask(&mut self, assignment: &Assignment<'_>) -> Result<(), Fault> {
        let failed = |error: String| Fault::of_all(format!("cannot write the spec of a trial: {error}"));
        let (mut config, mut model_py) = (Value::Null, Value::Null);
        if assignment.proposal.model.is_some() {
            let paths = [assignment.folder.join("model.yaml"), assignment.folder.join("model.py")];
            let paths = paths.map(|path| std::path::absolute(&path).unwrap_or(path));
            crate::files::write_whole(&paths[0], assignment.proposal.config.as_bytes())
                .map_err(|error| failed(error.to_string()))?;
            (self.write_module)(assignment, &paths[1]).map_err(failed)?;
            [config, model_py] = paths.map(|path| json!(path));
        }
        let draws = assignment.proposal.candidate.params.iter();
        let params: Map<String, Value> =
            draws.map(|param| (short_name(&param.name).to_owned(), param.value.clone())).collect();
        let line = json!({ "trial": assignment.number, "config": config, "params": params, "model_py": model_py });
        let process = match self.process.take() {
            Some(process) => process,
            None => Process::start(&self.command)?,
        };
        // What was said between two trials belongs to neither.
        while process.answers.try_recv().is_ok() {}
        let process = self.process.insert(process);
        // It writes at the end, wherever that is; one that talks much must not fill the disk in a night.
        let emptied = process.complaints.set_len(0);
        emptied.map_err(|error| failed_log(&error))?;
        let sent = process.send(&line);
        sent.map_err(|error| self.fault(FaultKind::Crashed, format!("the evaluator takes no trial: {error}")))
    }

    /// The next line, waiting for it no longer than `silence`; `None` when the search is stopped.
    fn answer(&mut self, silence: Duration, stopped: &dyn Fn() -> bool) -> Result<Option<Answer>, Fault> {
        let began = Instant::now();
        loop {
            let Some(process) = &mut self.process else {
                return Err(Fault::of_trial(FaultKind::Crashed, "the evaluator has ended"));
            };
            match process.answers.recv_timeout(LOOK.min(silence)) {
                Ok(line) => {
                    return match read(&line, &self.objective) {
                        Ok(answer) => Ok(Some(answer)),
                        Err(problem) => {
                            let message = format!("the evaluator said `{}`: {problem}", shortened(&line));
                            Err(self.fault(FaultKind::Rubbish, message))
                        }
                    };
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status =
                        process.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                    return Err(self.fault(FaultKind::Crashed, format!("the evaluator ended in a trial: {status}")));
                }
                Err(RecvTimeoutError::Timeout) if stopped() => return Ok(None),
                Err(RecvTimeoutError::Timeout) if began.elapsed() >= silence => {
                    let message = format!("the evaluator said nothing for {} s", silence.as_secs_f64());
                    return Err(self.fault(FaultKind::Hung, message));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Ends the evaluator, which is in the middle of something unknown, and keeps its last lines.
    fn fault(&mut self, kind: FaultKind, message: String) -> Fault {
        let lines = self.process.take().map(|mut process| process.last_lines()).unwrap_or_default();
        complained(kind, message, lines)
    }

    fn listen(&mut self, audience: &dyn Audience) -> Result<Ending, Fault> {
        loop {
            let Some(answer) = self.answer(self.silence, &|| audience.halt())? else {
                return Ok(self.abandon());
            };
            match answer {
                Answer::Last(values) => {
                    return match values.iter().find(|(_, value)| !value.is_finite()) {
                        Some((name, value)) => {
                            let lines = self.process.as_mut().map(Process::last_lines).unwrap_or_default();
                            let said = if value.is_nan() { "NaN" } else { "infinite" };
                            let message = format!("the evaluator's {name} is {said}");
                            Err(complained(FaultKind::Diverged, message, lines))
                        }
                        None => Ok(Ending::Scored(Score { values, ..Score::default() })),
                    };
                }
                Answer::Step(step, value) => match audience.told(step, value) {
                    Order::Continue => {}
                    Order::Halt => return Ok(self.prune(audience)),
                },
            }
        }
    }

    /// Asks the evaluator to stop, and waits until it has, unless the search ends meanwhile.
    fn prune(&mut self, audience: &dyn Audience) -> Ending {
        if let Some(process) = &mut self.process {
            // One that has ended is started again for the next trial.
            let _ = process.send(&json!({ "prune": true }));
        }
        let silence = self.silence.min(GRACE);
        let began = Instant::now();
        while began.elapsed() < silence && !audience.halt() {
            match self.answer(silence, &|| audience.halt()) {
                Ok(Some(Answer::Step(..)) | None) => {}
                // The trial is judged; how its evaluator ends changes nothing.
                _ => return Ending::Halted,
            }
        }
        self.abandon()
    }

    /// Ends the evaluator: its trial cannot go on later, so there is nothing to wait for.
    fn abandon(&mut self) -> Ending {
        self.process = None;
        Ending::Halted
    }
}

impl Scorer for Evaluator<'_> {
    fn score(&mut self, assignment: &Assignment<'_>, audience: &dyn Audience) -> Result<Ending, Fault> {
        self.ask(assignment)?;
        self.listen(audience)
    }

    fn can_go_on(&self) -> bool {
        false
    }
}

impl Process {
    fn start(command: &str) -> Result<Self, Fault> {
        let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
        let mut starting = Command::new(shell);
        let complaints = tempfile::Builder::new().append(true).tempfile().map(|file| file.into_file());
        let complaints = complaints.map_err(|error| failed_log(&error))?;
        let stderr = complaints.try_clone().map_err(|error| failed_log(&error))?;
        starting.args([flag, command]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        // What it starts ends with it, and Ctrl-C is the search's business.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut starting, 0);
        let mut child =
            starting.spawn().map_err(|error| Fault::of_all(format!("cannot start `{command}`: {error}")))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Fault::of_all(format!("cannot talk to `{command}`")));
        };
        let (sender, answers) = channel();
        thread::spawn(move || lines(stdout, |line| sender.send(line).is_ok()));
        Ok(Self { child, stdin, answers, complaints })
    }

    fn send(&mut self, line: &Value) -> std::io::Result<()> {
        writeln!(self.stdin, "{line}")?;
        self.stdin.flush()
    }

    /// The end of what it complained in this trial; nothing where that cannot be read.
    fn last_lines(&mut self) -> Vec<String> {
        let mut bytes = Vec::new();
        let length = self.complaints.metadata().map_or(0, |metadata| metadata.len());
        let begin = length.saturating_sub(TAIL);
        let sought = self.complaints.seek(SeekFrom::Start(begin));
        if sought.and_then(|_| (&self.complaints).take(TAIL).read_to_end(&mut bytes)).is_err() {
            return Vec::new();
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().skip(usize::from(begin > 0)).collect();
        lines[lines.len().saturating_sub(LINES)..].iter().map(|line| shortened(line.trim_end())).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        #[cfg(unix)]
        if let Ok(group) = self.child.id().try_into() {
            let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A fault whose cause is most often the last line of what was complained.
fn complained(kind: FaultKind, message: String, lines: Vec<String>) -> Fault {
    let message = match lines.iter().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("{message}; its last line: {}", line.trim()),
        None => message,
    };
    Fault { lines, ..Fault::of_trial(kind, message) }
}

fn failed_log(error: &std::io::Error) -> Fault {
    Fault::of_all(format!("cannot keep what the evaluator says in a temporary file: {error}"))
}

/// Reads lines until the stream ends or `take` has enough.
fn lines(stream: impl Read, mut take: impl FnMut(String) -> bool) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut bytes = Vec::new();
        let read = stream.by_ref().take(LONGEST_LINE as u64).read_until(b'\n', &mut bytes);
        if read.is_err() || bytes.is_empty() || !take(String::from_utf8_lossy(&bytes).trim_end().to_owned()) {
            return;
        }
    }
}

/// The name under `params:` as the space's file has it: beside a network draws have that prefix.
fn short_name(name: &str) -> &str {
    name.strip_prefix("params.").unwrap_or(name)
}

fn shortened(line: &str) -> String {
    if line.chars().count() <= 300 { line.to_owned() } else { line.chars().take(300).collect::<String>() + "…" }
}

fn read(line: &str, objective: &str) -> Result<Answer, String> {
    const WANTED: &str =
        "wanted {\"step\":k,\"value\":x}, {\"value\":x} or {\"values\":{…}}; print everything else to stderr";
    let object = parse(line).ok_or(WANTED)?;
    let value = |value: &Value| match value.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        _ => value.as_f64(),
    };
    if let Some(step) = object.get("step") {
        let step = step.as_u64().ok_or("`step` must be a whole number from 0")?;
        let value = object.get("value").and_then(value).ok_or_else(|| not_a_number("value", object.get("value")))?;
        return Ok(Answer::Step(step, value));
    }
    if let Some(last) = object.get("value") {
        let value = value(last).ok_or_else(|| not_a_number("value", Some(last)))?;
        return Ok(Answer::Last(BTreeMap::from([(objective.to_owned(), value)])));
    }
    let values = object.get("values").and_then(Value::as_object).ok_or(WANTED)?;
    let number = |(name, last): (&String, &Value)| {
        value(last).map(|value| (name.clone(), value)).ok_or_else(|| not_a_number(name, Some(last)))
    };
    values.iter().map(number).collect::<Result<_, _>>().map(Answer::Last)
}

fn not_a_number(name: &str, came: Option<&Value>) -> String {
    match came {
        None => format!("`{name}` is missing"),
        Some(came) => format!("`{name}` must be a number, got {came}"),
    }
}

/// A JSON object; Python's `NaN` and `Infinity`, which JSON does not have, are read as texts.
fn parse(line: &str) -> Option<Map<String, Value>> {
    let parse = |text: &str| serde_json::from_str::<Map<String, Value>>(text).ok();
    let quoted = || {
        let marked = line.replace("-Infinity", "\u{1}").replace("Infinity", "\"Infinity\"").replace("NaN", "\"NaN\"");
        marked.replace('\u{1}', "\"-Infinity\"")
    };
    parse(line).or_else(|| parse(&quoted()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Proposal;
    use nasgen_search::Candidate;
    use std::sync::Mutex;

    /// Keeps what it is told, and stops from a step on.
    struct Told(Mutex<Vec<(u64, f64)>>, u64);

    impl Audience for Told {
        fn told(&self, step: u64, value: f64) -> Order {
            self.0.lock().unwrap().push((step, value));
            if step >= self.1 { Order::Halt } else { Order::Continue }
        }

        fn halt(&self) -> bool {
            false
        }
    }

    fn proposal() -> Proposal {
        let candidate = Candidate { params: Vec::new(), known: vec![None], identity: "x".into(), costs: Vec::new() };
        Proposal { candidate, config: String::new(), model: None }
    }

    fn score(evaluator: &mut Evaluator<'_>, number: u64, stop: u64) -> (Result<Ending, Fault>, Vec<(u64, f64)>) {
        let told = Told(Mutex::default(), stop);
        let proposal = proposal();
        let assignment = Assignment { number, proposal: &proposal, folder: Path::new("") };
        let result = evaluator.score(&assignment, &told);
        (result, told.0.into_inner().unwrap())
    }

    fn evaluator(script: &str, silence: f64) -> Evaluator<'static> {
        Evaluator::new(script, Duration::from_secs_f64(silence), "value", &|_, _| Ok(()))
    }

    #[cfg(unix)]
    #[test]
    fn one_process_scores_all_trials() {
        let script =
            r#"n=0; while read line; do n=$((n+1)); echo '{"step":1,"value":0.25}'; echo "{\"value\":$n}"; done"#;
        let mut evaluator = evaluator(script, 10.0);
        for number in 1..4 {
            let (ending, told) = score(&mut evaluator, number, 9);
            let Ok(Ending::Scored(score)) = ending else { panic!("{ending:?}") };
            assert_eq!((score.values["value"], told), (number as f64, vec![(1, 0.25)]));
        }
    }

    #[cfg(unix)]
    #[test]
    fn it_is_told_to_stop_and_then_given_the_next_trial() {
        let script = r#"while read line; do echo '{"step":1,"value":1}'; echo '{"step":2,"value":2}'; read answer;
            case "$answer" in *prune*) echo '{"value":7}';; *) exit 3;; esac; done"#;
        let mut evaluator = evaluator(script, 10.0);
        for number in 0..2 {
            let (ending, told) = score(&mut evaluator, number, 2);
            assert_eq!((ending, told), (Ok(Ending::Halted), vec![(1, 1.0), (2, 2.0)]));
        }
    }

    #[cfg(unix)]
    #[test]
    fn every_mishap_is_a_fault_with_the_last_lines_and_the_next_trial_begins_anew() {
        for (script, kind, words) in [
            ("read line; echo starting >&2; sleep 60", FaultKind::Hung, "nothing for 0.3 s"),
            ("read line; echo starting >&2; exit 7", FaultKind::Crashed, "exit status: 7"),
            ("read line; echo starting >&2; kill -9 $$", FaultKind::Crashed, "signal: 9"),
            ("read line; echo starting >&2; echo 'Epoch 1: 0.3'", FaultKind::Rubbish, "said `Epoch 1: 0.3`"),
            ("read line; echo starting >&2; echo '{\"value\":\"high\"}'", FaultKind::Rubbish, "must be a number"),
            (
                "while read line; do echo starting >&2; echo '{\"value\":NaN}'; done",
                FaultKind::Diverged,
                "value is NaN",
            ),
        ] {
            let mut evaluator = evaluator(script, 0.3);
            for number in 0..2 {
                let fault = score(&mut evaluator, number, 9).0.unwrap_err();
                assert!(fault.kind == kind && fault.message.contains(words), "{script}: {fault:?}");
                assert!(fault.lines.iter().any(|line| line == "starting") || number == 1, "{script}: {fault:?}");
                assert!(!fault.everywhere);
            }
        }
    }

    #[test]
    fn answers_are_read_as_they_are_written() {
        let last = |pairs: &[(&str, f64)]| {
            Ok(Answer::Last(pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()))
        };
        assert_eq!(read(r#"{"step": 3, "value": 0.5}"#, "value"), Ok(Answer::Step(3, 0.5)));
        assert_eq!(read(r#"{"value": 1}"#, "recall"), last(&[("recall", 1.0)]));
        assert_eq!(read(r#"{"values": {"a": 1, "b": 2}}"#, "value"), last(&[("a", 1.0), ("b", 2.0)]));
        assert_eq!(read(r#"{"values": {"a": -Infinity}}"#, "value"), last(&[("a", f64::NEG_INFINITY)]));
        assert!(matches!(read(r#"{"step": 1, "value": NaN}"#, "value"), Ok(Answer::Step(1, value)) if value.is_nan()));
        for (line, problem) in [
            ("", "wanted"),
            ("hello", "stderr"),
            ("[1]", "wanted"),
            (r#"{"step": -1, "value": 1}"#, "whole number"),
            (r#"{"step": 1}"#, "`value`"),
            (r#"{"values": {"a": "b"}}"#, "`a`"),
            (r#"{"value": null}"#, "got null"),
        ] {
            assert!(read(line, "value").unwrap_err().contains(problem), "{line}");
        }
    }
}
