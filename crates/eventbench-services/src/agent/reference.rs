//! The reference run: twenty events about one account, rendered by hand because they are what the stream's own cost is
//! measured with.

use super::accounts::Account;
use super::event::{Frames, Kind, push_number, push_text};
use super::fault::RunFaults;
use super::pipeline::Recipe;

/// The step's name.
const STEP: &str = "account-brief";

/// Adds all events of the run.
pub(crate) fn render(recipe: &Recipe, tag: u32, account: &Account, faults: RunFaults, out: &mut Frames) {
    let ids = |out: &mut Vec<u8>| {
        out.extend_from_slice(b",\"threadId\":");
        push_text(out, &recipe.thread_id);
        out.extend_from_slice(b",\"runId\":");
        push_text(out, &recipe.run_id);
    };
    // Hexadecimal: nothing to escape.
    let tag = hex(tag);
    let id = |out: &mut Vec<u8>, field: &[u8], letter: u8| {
        out.extend_from_slice(field);
        out.push(letter);
        out.extend_from_slice(&tag);
        out.push(b'"');
    };
    let step = |out: &mut Vec<u8>| {
        out.extend_from_slice(b",\"stepName\":\"");
        out.extend_from_slice(STEP.as_bytes());
        out.push(b'"');
    };

    out.raw(Kind::RunStarted, ids);
    out.raw(Kind::StateSnapshot, |out| {
        out.extend_from_slice(b",\"snapshot\":{\"account_id\":");
        push_text(out, &account.id);
        out.extend_from_slice(b",\"status\":\"working\"}");
    });
    out.raw(Kind::StepStarted, step);
    out.raw(Kind::TextMessageStart, |out| {
        id(out, b",\"messageId\":\"", b'm');
        out.extend_from_slice(b",\"role\":\"assistant\"");
    });
    let mut content = |write: &dyn Fn(&mut Vec<u8>)| {
        out.raw(Kind::TextMessageContent, |out| {
            id(out, b",\"messageId\":\"", b'm');
            out.extend_from_slice(b",\"delta\":");
            write(out);
        });
    };
    let figure = |out: &mut Vec<u8>, before: &[u8], number: i64, after: &[u8]| {
        out.extend_from_slice(before);
        push_number(out, number.unsigned_abs());
        out.extend_from_slice(after);
    };
    content(&|out| push_text(out, &account.name));
    content(&|out| out.extend_from_slice(b"\" is worth \""));
    content(&|out| figure(out, b"\"", account.annual_cents / 100, b" a year,\""));
    content(&|out| out.extend_from_slice(b"\" its contract\""));
    content(&|out| figure(out, b"\" renews in ", account.renewal_in_days, b" days,\""));
    content(&|out| out.extend_from_slice(b"\" and its health\""));
    content(&|out| figure(out, b"\" is ", account.health, b"\""));
    content(&|out| out.extend_from_slice(b"\" of 100.\""));
    out.raw(Kind::TextMessageEnd, |out| id(out, b",\"messageId\":\"", b'm'));

    out.raw(Kind::ToolCallStart, |out| {
        id(out, b",\"toolCallId\":\"", b't');
        out.extend_from_slice(b",\"toolCallName\":\"zoho_get_account\"");
    });
    out.raw(Kind::ToolCallArgs, |out| {
        id(out, b",\"toolCallId\":\"", b't');
        // An account id is letters, digits and a dash.
        out.extend_from_slice(b",\"delta\":\"{\\\"account_id\\\":\\\"");
        out.extend_from_slice(account.id.as_bytes());
        out.extend_from_slice(b"\\\"}\"");
    });
    out.raw(Kind::ToolCallEnd, |out| id(out, b",\"toolCallId\":\"", b't'));
    out.raw(Kind::ToolCallResult, |out| {
        id(out, b",\"messageId\":\"", b'r');
        let letter = if faults.unknown_tool_result { b'u' } else { b't' };
        id(out, b",\"toolCallId\":\"", letter);
        figure(out, b",\"content\":\"{\\\"health\\\":", account.health, b"}\"");
        out.extend_from_slice(b",\"role\":\"tool\"");
    });
    out.raw(Kind::StateDelta, |out| {
        let path: &[u8] = if faults.bad_delta {
            b"/nothing/of/this"
        } else {
            b"/status"
        };
        out.extend_from_slice(b",\"delta\":[{\"op\":\"replace\",\"path\":\"");
        out.extend_from_slice(path);
        out.extend_from_slice(b"\",\"value\":\"done\"}]");
    });
    out.raw(Kind::StepFinished, step);
    out.raw(Kind::RunFinished, ids);
}

fn hex(number: u32) -> [u8; 8] {
    let mut digits = [0; 8];
    for (k, digit) in digits.iter_mut().enumerate() {
        let nibble = (number >> (28 - 4 * k)) & 0xF;
        *digit = b"0123456789abcdef"[nibble as usize];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_as_the_formatter_writes_it() {
        for number in [0, 1, 0x0123_abcd, u32::MAX] {
            assert_eq!(hex(number), format!("{number:08x}").as_bytes());
        }
    }
}
