//! What the workflows find out about an account: statistics of its activities, a risk score, recommendations and the
//! decision on approval. Pure functions of what the database holds.

use super::accounts::{Account, Activity};
use super::seed::KINDS;
use serde::Serialize;
use std::collections::BTreeMap;

/// Days that the statistics look back.
pub(crate) const WINDOW_DAYS: i64 = 90;

/// Days that count as recent.
const RECENT_DAYS: i64 = 30;

/// From this score on the risk is high.
const HIGH: u32 = 60;
/// From this score on the risk is medium.
const MEDIUM: u32 = 35;

/// Above this, a proposal is looked at by a person, whatever the risk: 300,000.00 a year.
const LARGE_CENTS: i64 = 30_000_000;

/// Figures of an account's activities in the last [`WINDOW_DAYS`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Statistics {
    pub(crate) activities: usize,
    pub(crate) by_kind: BTreeMap<&'static str, usize>,
    pub(crate) recent_activities: usize,
    /// Days since the last call, email or meeting.
    pub(crate) days_since_contact: Option<i64>,
    pub(crate) minutes: i64,
    /// Mean from -2 to 2, rounded to hundredths; 0 without activities.
    pub(crate) mean_sentiment: f64,
    /// Mean of the recent sentiment less that of the time before, rounded to hundredths.
    pub(crate) sentiment_trend: f64,
    pub(crate) recent_tickets: usize,
}

/// Computes the statistics of activities that all lie in the window.
pub(crate) fn statistics(activities: &[Activity]) -> Statistics {
    let recent = |activity: &&Activity| activity.days_ago < RECENT_DAYS;
    let mean = |chosen: &mut dyn Iterator<Item = &Activity>| {
        let (sum, count) = chosen.fold((0.0, 0.0), |(sum, count), activity| {
            (sum + activity.sentiment as f64, count + 1.0)
        });
        if count == 0.0 { None } else { Some(sum / count) }
    };
    let of_late = mean(&mut activities.iter().filter(recent));
    let before = mean(&mut activities.iter().filter(|activity| !recent(activity)));
    let by_kind = KINDS
        .into_iter()
        .map(|kind| (kind, activities.iter().filter(|activity| activity.kind == kind).count()))
        .collect();
    Statistics {
        activities: activities.len(),
        by_kind,
        recent_activities: activities.iter().filter(recent).count(),
        days_since_contact: activities
            .iter()
            .filter(|activity| ["call", "email", "meeting"].contains(&activity.kind.as_str()))
            .map(|activity| activity.days_ago)
            .min(),
        minutes: activities.iter().map(|activity| activity.minutes).sum(),
        mean_sentiment: hundredths(mean(&mut activities.iter()).unwrap_or(0.0)),
        // Without either half there is nothing to compare.
        sentiment_trend: hundredths(of_late.zip(before).map_or(0.0, |(late, before)| late - before)),
        recent_tickets: activities
            .iter()
            .filter(recent)
            .filter(|activity| activity.kind == "ticket")
            .count(),
    }
}

fn hundredths(value: f64) -> f64 {
    // Adding zero makes a negative zero an ordinary one.
    (value * 100.0).round() / 100.0 + 0.0
}

/// How likely an account is to be lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Risk {
    /// Sum of the factors: 0 to 100.
    pub(crate) score: u32,
    /// `low`, `medium` or `high`.
    pub(crate) level: &'static str,
    /// Points by what they are given for.
    pub(crate) factors: BTreeMap<&'static str, u32>,
}

/// Scores an account: silence (up to 25 points), bad sentiment (20), its fall (15), tickets (15), a renewal that is
/// near (15) and poor health (10).
pub(crate) fn risk(account: &Account, statistics: &Statistics) -> Risk {
    let silent_days = statistics.days_since_contact.unwrap_or(WINDOW_DAYS);
    let factors = BTreeMap::from([
        ("silence", points(silent_days as f64 / 2.0, 25)),
        ("sentiment", points((2.0 - statistics.mean_sentiment) * 5.0, 20)),
        ("trend", points(-statistics.sentiment_trend * 7.5, 15)),
        ("tickets", points(statistics.recent_tickets as f64 * 3.0, 15)),
        ("renewal", points((90.0 - account.renewal_in_days as f64) / 6.0, 15)),
        ("health", points((100.0 - account.health as f64) / 8.0, 10)),
    ]);
    let score = factors.values().sum();
    let level = match score {
        HIGH.. => "high",
        MEDIUM.. => "medium",
        _ => "low",
    };
    Risk { score, level, factors }
}

fn points(value: f64, most: u32) -> u32 {
    // Within 0 and `most`, so that nothing is cut off.
    value.round().clamp(0.0, f64::from(most)) as u32
}

/// What to do about an account, the most urgent first; never empty.
pub(crate) fn recommendations(account: &Account, statistics: &Statistics, risk: &Risk) -> Vec<String> {
    let mut found = Vec::new();
    match statistics.days_since_contact {
        None => found.push(format!(
            "Nobody spoke with {} in {WINDOW_DAYS} days: call this week.",
            account.name
        )),
        Some(days) if days > 21 => found.push(format!("The last contact was {days} days ago: arrange a meeting.")),
        Some(_) => {}
    }
    if account.renewal_in_days <= 90 {
        found.push(format!(
            "The contract over {} a year renews in {} days: prepare the offer.",
            money(account.annual_cents),
            account.renewal_in_days
        ));
    }
    if statistics.recent_tickets >= 2 {
        found.push(format!(
            "{} tickets in {RECENT_DAYS} days: bring support into the next call.",
            statistics.recent_tickets
        ));
    }
    if statistics.sentiment_trend <= -0.25 {
        found.push(format!(
            "Sentiment moved by {:+.2} to {:+.2}: ask what has changed.",
            statistics.sentiment_trend, statistics.mean_sentiment
        ));
    }
    if statistics.mean_sentiment >= 1.0 && risk.score < MEDIUM {
        found.push(format!(
            "Sentiment is {:+.2}: ask {} for a reference.",
            statistics.mean_sentiment, account.name
        ));
    }
    if found.is_empty() {
        found.push(format!(
            "Nothing is urgent: keep the pace of {} activities a month.",
            statistics.recent_activities
        ));
    }
    found
}

/// An amount with its thousands apart, without a currency.
pub(crate) fn money(cents: i64) -> String {
    let whole = (cents / 100).to_string();
    let mut grouped = String::new();
    for (k, digit) in whole.chars().enumerate() {
        if k > 0 && (whole.len() - k).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{grouped}.{:02}", cents % 100)
}

/// Whether what is recommended may go out as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Approval {
    /// `approved` by rule, or `review`: a person is to look at it.
    pub(crate) decision: &'static str,
    pub(crate) reason: String,
}

/// Decides by the rules: high risk and large contracts go to a person.
pub(crate) fn approval(annual_cents: i64, highest_score: u32) -> Approval {
    let (decision, reason) = if highest_score >= HIGH {
        ("review", format!("risk score {highest_score} is {HIGH} or more"))
    } else if annual_cents > LARGE_CENTS {
        (
            "review",
            format!("{} a year is more than {}", money(annual_cents), money(LARGE_CENTS)),
        )
    } else {
        ("approved", format!("risk score {highest_score} is below {HIGH}"))
    };
    Approval { decision, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account {
            id: "ACC-000001".to_owned(),
            name: "Müller Foods".to_owned(),
            owner: "A. Okafor 1".to_owned(),
            industry: "retail".to_owned(),
            annual_cents: 12_345_678,
            renewal_in_days: 30,
            health: 60,
        }
    }

    fn activity(days_ago: i64, kind: &str, minutes: i64, sentiment: i64) -> Activity {
        Activity {
            days_ago,
            kind: kind.to_owned(),
            minutes,
            sentiment,
        }
    }

    #[test]
    fn statistics_are_computed_by_hand() {
        let found = statistics(&[
            activity(2, "ticket", 10, -2),
            activity(5, "call", 20, -1),
            activity(29, "ticket", 5, 0),
            activity(30, "email", 2, 1),
            activity(80, "meeting", 60, 2),
        ]);
        let by_kind = BTreeMap::from([("call", 1), ("email", 1), ("meeting", 1), ("ticket", 2), ("login", 0)]);
        assert_eq!(
            found,
            Statistics {
                activities: 5,
                by_kind,
                recent_activities: 3,
                days_since_contact: Some(5),
                minutes: 97,
                mean_sentiment: 0.0,
                sentiment_trend: -2.5,
                recent_tickets: 2,
            }
        );
        let nothing = statistics(&[]);
        assert_eq!(
            (nothing.activities, nothing.mean_sentiment, nothing.days_since_contact),
            (0, 0.0, None)
        );
    }

    #[test]
    fn the_score_is_the_sum_of_its_factors() {
        let found = statistics(&[activity(10, "call", 20, -1), activity(40, "ticket", 5, 1)]);
        let risk = risk(&account(), &found);
        // Silence 5, sentiment 10, trend 15 (of -2), tickets 0 (not recent), renewal 10, health 5.
        let expected = BTreeMap::from([
            ("silence", 5),
            ("sentiment", 10),
            ("trend", 15),
            ("tickets", 0),
            ("renewal", 10),
            ("health", 5),
        ]);
        assert_eq!((risk.score, risk.level, risk.factors), (45, "medium", expected));
        let worst = statistics(&(0..9).map(|_| activity(1, "ticket", 1, -2)).collect::<Vec<_>>());
        let worst = super::risk(
            &Account {
                health: 0,
                renewal_in_days: 0,
                ..account()
            },
            &worst,
        );
        assert_eq!((worst.score, worst.level), (85, "high"));
    }

    #[test]
    fn recommendations_name_the_figures() {
        let found = statistics(&[
            activity(25, "call", 20, -1),
            activity(3, "ticket", 5, -1),
            activity(2, "ticket", 5, -2),
        ]);
        let texts = recommendations(&account(), &found, &risk(&account(), &found));
        assert_eq!(
            texts,
            [
                "The last contact was 25 days ago: arrange a meeting.",
                "The contract over 123,456.78 a year renews in 30 days: prepare the offer.",
                "2 tickets in 30 days: bring support into the next call.",
            ]
        );
        let calm = Account {
            renewal_in_days: 300,
            ..account()
        };
        let found = statistics(&[activity(1, "call", 5, 0)]);
        let texts = recommendations(&calm, &found, &risk(&calm, &found));
        assert_eq!(texts, ["Nothing is urgent: keep the pace of 1 activities a month."]);
    }

    #[test]
    fn large_or_risky_goes_to_a_person() {
        assert_eq!(approval(1_000, 59).decision, "approved");
        assert_eq!(approval(1_000, 60).decision, "review");
        assert_eq!(approval(LARGE_CENTS + 1, 0).decision, "review");
        assert_eq!(approval(LARGE_CENTS, 0).decision, "approved");
    }

    #[test]
    fn money_has_its_thousands_apart() {
        for (cents, expected) in [
            (0, "0.00"),
            (12_345, "123.45"),
            (100_000, "1,000.00"),
            (123_456_789, "1,234,567.89"),
        ] {
            assert_eq!(money(cents), expected);
        }
    }
}
