//! The workflows: which there are, and the steps of each.

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Workflow {
    /// One account: its activities, recommendations, approval.
    AccountAnalysis,
    /// The accounts of one owner and which of them need attention today.
    DailyReview,
    /// One account with a risk score.
    RiskAssessment,
    /// Twenty events about one account, at the least cost: for measuring the stream itself.
    Reference,
}

/// One step of a workflow, done by an agent of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Looks the account up, or the portfolio that it belongs to.
    Scout,
    /// Computes statistics of the activities.
    Analyst,
    /// Scores the risk.
    Scorer,
    /// Writes the recommendations.
    Author,
    /// Decides whether they may go out.
    Approval,
}

impl Step {
    /// The name in the field `stepName`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Step::Scout => "zoho-scout",
            Step::Analyst => "memory-analyst",
            Step::Scorer => "risk-scorer",
            Step::Author => "recommendation-author",
            Step::Approval => "approval",
        }
    }
}

impl Workflow {
    pub(crate) const COUNT: usize = 4;
    pub(crate) const ALL: [Workflow; Workflow::COUNT] = [
        Workflow::AccountAnalysis,
        Workflow::DailyReview,
        Workflow::RiskAssessment,
        Workflow::Reference,
    ];

    /// The name in requests.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Workflow::AccountAnalysis => "account_analysis",
            Workflow::DailyReview => "daily_review",
            Workflow::RiskAssessment => "risk_assessment",
            Workflow::Reference => "reference",
        }
    }

    /// The workflow of this name.
    pub(crate) fn named(name: &str) -> Option<Workflow> {
        Workflow::ALL.into_iter().find(|workflow| workflow.name() == name)
    }

    /// The names of all, for messages.
    pub(crate) fn names() -> String {
        Workflow::ALL.map(Workflow::name).join(", ")
    }

    /// The workflow that a sentence asks for by one of its words: an analysis unless it speaks of something else.
    pub(crate) fn asked_for(sentence: &str) -> Workflow {
        let sentence = sentence.to_lowercase();
        let speaks_of = |words: &[&str]| words.iter().any(|word| sentence.contains(word));
        if speaks_of(&["reference"]) {
            Workflow::Reference
        } else if speaks_of(&["risk"]) {
            Workflow::RiskAssessment
        } else if speaks_of(&["daily", "review", "today"]) {
            Workflow::DailyReview
        } else {
            Workflow::AccountAnalysis
        }
    }

    /// Whether a request must name the account.
    pub(crate) fn needs_account(self) -> bool {
        matches!(self, Workflow::AccountAnalysis | Workflow::RiskAssessment)
    }

    /// The steps in their order; the reference run has its own form.
    pub(crate) fn steps(self) -> &'static [Step] {
        match self {
            Workflow::AccountAnalysis | Workflow::DailyReview => {
                &[Step::Scout, Step::Analyst, Step::Author, Step::Approval]
            }
            Workflow::RiskAssessment => &[Step::Scout, Step::Analyst, Step::Scorer, Step::Author, Step::Approval],
            Workflow::Reference => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_name_and_stands_where_its_number_says() {
        for (k, workflow) in Workflow::ALL.into_iter().enumerate() {
            assert_eq!(workflow as usize, k);
            assert_eq!(Workflow::named(workflow.name()), Some(workflow));
            assert!(Workflow::names().contains(workflow.name()));
        }
        assert_eq!(Workflow::named("Account_Analysis"), None);
    }

    #[test]
    fn a_sentence_chooses() {
        for (sentence, expected) in [
            ("How RISKY is ACC-000001?", Workflow::RiskAssessment),
            ("What is on today?", Workflow::DailyReview),
            ("run the reference", Workflow::Reference),
            ("Tell me about ACC-000001", Workflow::AccountAnalysis),
        ] {
            assert_eq!(Workflow::asked_for(sentence), expected, "{sentence}");
        }
    }
}
