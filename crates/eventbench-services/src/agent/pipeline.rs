//! One run of a workflow: its steps, done one at a time, and the events that each gives. The same request gives the
//! same events, so that a run can be taken up again after any of them.

use super::accounts::{Account, Database, Directory};
use super::analysis::{self, Approval, Risk, Statistics, WINDOW_DAYS, money};
use super::event::{Frames, Kind};
use super::fault::RunFaults;
use super::reference;
use super::workflow::{Step, Workflow};
use serde_json::{Value, json};
use std::time::Duration;

/// Words in one piece of a text that is streamed.
const WORDS_PER_PIECE: usize = 4;

/// Accounts of a portfolio that a review speaks of.
const REVIEWED: usize = 3;

/// A request, complete: all that decides which events the run has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recipe {
    pub(crate) workflow: Workflow,
    /// The account that the request names; without one, the run takes any, always the same for the same ids.
    pub(crate) account: Option<String>,
    pub(crate) thread_id: String,
    pub(crate) run_id: String,
    /// Time between two events.
    pub(crate) pace: Duration,
}

/// Why a run ends with RUN_ERROR.
#[derive(Debug)]
struct Failure {
    code: &'static str,
    message: String,
}

impl From<rusqlite::Error> for Failure {
    fn from(cause: rusqlite::Error) -> Failure {
        tracing::error!("a run met a database error: {cause}");
        Failure {
            code: "database",
            message: format!("the accounts cannot be read: {cause}"),
        }
    }
}

/// One account with what was found out about it.
#[derive(Debug)]
struct Finding {
    account: Account,
    statistics: Statistics,
    risk: Risk,
}

/// A run in progress.
#[derive(Debug)]
pub(crate) struct Pipeline {
    recipe: Recipe,
    faults: RunFaults,
    /// Tells this run's messages and tool calls from those of the thread's other runs.
    tag: u32,
    /// Steps begun: 0 before RUN_STARTED.
    stage: usize,
    over: bool,
    tools: u32,
    accounts: Vec<Account>,
    findings: Vec<Finding>,
    approval: Option<Approval>,
}

impl Pipeline {
    /// A run that has not begun.
    pub(crate) fn new(mut recipe: Recipe, faults: RunFaults) -> Pipeline {
        let tag = tag(&recipe);
        if faults.wrong_ids {
            recipe.run_id.push_str("-other");
        }
        Pipeline {
            recipe,
            faults,
            tag,
            stage: 0,
            over: false,
            tools: 0,
            accounts: Vec::new(),
            findings: Vec::new(),
            approval: None,
        }
    }

    /// Whether all events were given.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Does the next piece of work and adds its events.
    pub(crate) fn advance(&mut self, database: &Database, directory: &Directory, out: &mut Frames) {
        let stage = self.stage;
        self.stage += 1;
        if self.recipe.workflow == Workflow::Reference {
            let account = match &self.recipe.account {
                Some(id) => directory.get(id),
                None => directory.any(self.tag.into()),
            };
            self.over = true;
            match account {
                Some(account) => reference::render(&self.recipe, self.tag, account, self.faults, out),
                None => {
                    self.started(out);
                    failed(&self.unknown_account(), out);
                }
            }
            return;
        }
        let steps = self.recipe.workflow.steps();
        if stage == 0 {
            self.started(out);
            out.push(Kind::StateSnapshot, &json!({ "snapshot": self.first_state() }));
        } else if let Some(step) = steps.get(stage - 1) {
            let name = step.name();
            out.push(Kind::StepStarted, &json!({ "stepName": name }));
            if let Err(failure) = self.step(*step, database, directory, out) {
                failed(&failure, out);
                self.over = true;
                return;
            }
            self.delta(
                &json!([{ "op": "add", "path": "/completed_steps/-", "value": name }]),
                out,
            );
            out.push(Kind::StepFinished, &json!({ "stepName": name }));
        } else {
            out.push(
                Kind::RunFinished,
                &json!({ "threadId": self.recipe.thread_id, "runId": self.recipe.run_id, "result": self.result() }),
            );
            self.over = true;
        }
    }

    fn started(&self, out: &mut Frames) {
        out.push(
            Kind::RunStarted,
            &json!({ "threadId": self.recipe.thread_id, "runId": self.recipe.run_id }),
        );
    }

    fn first_state(&self) -> Value {
        json!({
            "workflow": self.recipe.workflow.name(),
            "accounts": [],
            "findings": {},
            "recommendations": [],
            "approval": { "decision": "pending" },
            "completed_steps": [],
        })
    }

    fn step(
        &mut self,
        step: Step,
        database: &Database,
        directory: &Directory,
        out: &mut Frames,
    ) -> Result<(), Failure> {
        match step {
            Step::Scout => self.scout(database, directory, out),
            Step::Analyst => self.analyse(database, out),
            Step::Scorer => {
                self.score(out);
                Ok(())
            }
            Step::Author => {
                self.write(out);
                Ok(())
            }
            Step::Approval => {
                self.approve(out);
                Ok(())
            }
        }
    }

    fn scout(&mut self, database: &Database, directory: &Directory, out: &mut Frames) -> Result<(), Failure> {
        let id = match &self.recipe.account {
            Some(id) => id.clone(),
            None => directory
                .any(self.tag.into())
                .map(|account| account.id.clone())
                .unwrap_or_default(),
        };
        let found = database.account(&id)?;
        let result = match &found {
            Some(account) => json!(account),
            None => json!({ "error": "not found" }),
        };
        self.tool("zoho_get_account", &json!({ "account_id": id }), &result, out);
        let account = found.ok_or_else(|| self.unknown_account())?;
        if self.recipe.workflow == Workflow::DailyReview {
            let owner = account.owner;
            self.accounts = database.portfolio(&owner)?;
            let ids: Vec<&str> = self.accounts.iter().map(|account| account.id.as_str()).collect();
            let result = json!({ "account_ids": ids });
            self.tool("zoho_list_portfolio", &json!({ "owner": owner }), &result, out);
        } else {
            self.accounts = vec![account];
        }
        let accounts = json!(self.accounts);
        self.delta(
            &json!([{ "op": "replace", "path": "/accounts", "value": accounts }]),
            out,
        );
        Ok(())
    }

    fn unknown_account(&self) -> Failure {
        Failure {
            code: "unknown_account",
            message: format!(
                "there is no account {:?}; they are named ACC-000001 and so on",
                self.recipe.account.as_deref().unwrap_or_default()
            ),
        }
    }

    fn analyse(&mut self, database: &Database, out: &mut Frames) -> Result<(), Failure> {
        for account in std::mem::take(&mut self.accounts) {
            let statistics = analysis::statistics(&database.activities(&account.id, WINDOW_DAYS)?);
            let arguments = json!({ "account_id": account.id, "window_days": WINDOW_DAYS });
            self.tool("memory_activity_statistics", &arguments, &json!(statistics), out);
            // The ids are letters, digits and a dash: nothing to escape in a JSON pointer.
            let path = format!("/findings/{}", account.id);
            let value = json!({ "statistics": statistics });
            self.delta(&json!([{ "op": "add", "path": path, "value": value }]), out);
            let risk = analysis::risk(&account, &statistics);
            self.findings.push(Finding {
                account,
                statistics,
                risk,
            });
        }
        // The riskiest first; of the same risk, the larger.
        self.findings
            .sort_by_key(|finding| (u32::MAX - finding.risk.score, -finding.account.annual_cents));
        Ok(())
    }

    fn score(&mut self, out: &mut Frames) {
        for place in 0..self.findings.len() {
            let finding = &self.findings[place];
            let (id, risk) = (finding.account.id.clone(), json!(finding.risk));
            self.tool("score_risk", &json!({ "account_id": id }), &risk, out);
            let path = format!("/findings/{id}/risk");
            self.delta(&json!([{ "op": "add", "path": path, "value": risk }]), out);
        }
    }

    fn write(&mut self, out: &mut Frames) {
        let mut texts = Vec::new();
        let mut advice = Vec::new();
        let daily = self.recipe.workflow == Workflow::DailyReview;
        if daily {
            let yearly = self.findings.iter().map(|finding| finding.account.annual_cents).sum();
            texts.push(format!(
                "Portfolio of {} accounts, {} a year.",
                self.findings.len(),
                money(yearly)
            ));
        }
        for Finding {
            account,
            statistics,
            risk,
        } in self.findings.iter().take(if daily { REVIEWED } else { 1 })
        {
            texts.push(format!(
                "{} ({}): {} activities in {WINDOW_DAYS} days, {} of them recent, mean sentiment {:+.2}.",
                account.name,
                account.id,
                statistics.activities,
                statistics.recent_activities,
                statistics.mean_sentiment
            ));
            if self.recipe.workflow != Workflow::AccountAnalysis {
                texts.push(format!("Risk {} of 100, {}.", risk.score, risk.level));
            }
            let found = analysis::recommendations(account, statistics, risk);
            texts.extend(found.iter().cloned());
            advice.extend(
                found
                    .into_iter()
                    .map(|text| json!({ "account_id": account.id, "text": text })),
            );
        }
        self.message(&texts.join("\n"), out);
        let operations: Vec<Value> = advice
            .into_iter()
            .map(|value| json!({ "op": "add", "path": "/recommendations/-", "value": value }))
            .collect();
        self.delta(&json!(operations), out);
    }

    fn approve(&mut self, out: &mut Frames) {
        let (largest, score) = self.findings.iter().fold((0, 0), |(largest, score), finding| {
            (largest.max(finding.account.annual_cents), score.max(finding.risk.score))
        });
        let approval = analysis::approval(largest, score);
        out.push(Kind::Custom, &json!({ "name": "approval", "value": approval }));
        self.delta(
            &json!([{ "op": "replace", "path": "/approval", "value": approval }]),
            out,
        );
        self.approval = Some(approval);
    }

    fn result(&self) -> Value {
        let risk = self.findings.first().map(|finding| &finding.risk);
        json!({
            "accounts": self.findings.len(),
            "highest_risk": risk.map_or(0, |risk| risk.score),
            "approval": self.approval.as_ref().map_or("pending", |approval| approval.decision),
        })
    }

    /// A tool call with its arguments in two pieces and its result.
    fn tool(&mut self, name: &str, arguments: &Value, result: &Value, out: &mut Frames) {
        self.tools += 1;
        let id = format!("t{:08x}-{}", self.tag, self.tools);
        out.push(Kind::ToolCallStart, &json!({ "toolCallId": id, "toolCallName": name }));
        let arguments = arguments.to_string();
        let (head, tail) = arguments.split_at(arguments.floor_char_boundary(arguments.len() / 2));
        for delta in [head, tail] {
            out.push(Kind::ToolCallArgs, &json!({ "toolCallId": id, "delta": delta }));
        }
        out.push(Kind::ToolCallEnd, &json!({ "toolCallId": id }));
        let called = if self.faults.unknown_tool_result {
            format!("{id}-unknown")
        } else {
            id.clone()
        };
        out.push(
            Kind::ToolCallResult,
            &json!({
                "messageId": format!("r{:08x}-{}", self.tag, self.tools),
                "toolCallId": called,
                "content": result.to_string(),
                "role": "tool",
            }),
        );
    }

    /// A text of the assistant in pieces of a few words.
    fn message(&self, text: &str, out: &mut Frames) {
        let id = format!("m{:08x}", self.tag);
        out.push(Kind::TextMessageStart, &json!({ "messageId": id, "role": "assistant" }));
        let words: Vec<&str> = text.split_inclusive([' ', '\n']).collect();
        for piece in words.chunks(WORDS_PER_PIECE) {
            out.push(
                Kind::TextMessageContent,
                &json!({ "messageId": id, "delta": piece.concat() }),
            );
        }
        out.push(Kind::TextMessageEnd, &json!({ "messageId": id }));
    }

    fn delta(&mut self, operations: &Value, out: &mut Frames) {
        if self.faults.bad_delta {
            // Once a run.
            self.faults.bad_delta = false;
            let wrong = json!([{ "op": "replace", "path": "/nothing/of/this/name", "value": 0 }]);
            out.push(Kind::StateDelta, &json!({ "delta": wrong }));
        }
        out.push(Kind::StateDelta, &json!({ "delta": operations }));
    }
}

fn failed(failure: &Failure, out: &mut Frames) {
    out.push(
        Kind::RunError,
        &json!({ "message": failure.message, "code": failure.code }),
    );
}

/// A number made of the run's ids: the hash FNV-1a, folded to 32 bits.
fn tag(recipe: &Recipe) -> u32 {
    let bytes = recipe.thread_id.bytes().chain([0]).chain(recipe.run_id.bytes());
    let hash = bytes.fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    // The upper half is kept apart from the lower by the shift; both fit.
    ((hash >> 32) ^ (hash & 0xFFFF_FFFF)) as u32
}

#[cfg(test)]
mod tests;
