//! Requests of runs that may be resumed, kept by their ids; the oldest goes when there are too many.

use super::pipeline::Recipe;
use std::collections::{HashMap, VecDeque};

type Key = (String, String);

/// The kept requests.
#[derive(Debug)]
pub(crate) struct KeptRuns {
    most: usize,
    recipes: HashMap<Key, Recipe>,
    order: VecDeque<Key>,
}

impl KeptRuns {
    /// Keeps at most `most` requests.
    pub(crate) fn new(most: usize) -> KeptRuns {
        KeptRuns {
            most,
            recipes: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Keeps a request, instead of an earlier one of the same ids.
    pub(crate) fn keep(&mut self, recipe: &Recipe) {
        let key = (recipe.thread_id.clone(), recipe.run_id.clone());
        if self.recipes.insert(key.clone(), recipe.clone()).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.most {
            if let Some(oldest) = self.order.pop_front() {
                self.recipes.remove(&oldest);
            }
        }
    }

    /// The request of these ids, if it is still kept.
    pub(crate) fn get(&self, thread_id: &str, run_id: &str) -> Option<Recipe> {
        self.recipes.get(&(thread_id.to_owned(), run_id.to_owned())).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::workflow::Workflow;
    use super::*;
    use std::time::Duration;

    fn recipe(run: u32, workflow: Workflow) -> Recipe {
        Recipe {
            workflow,
            account: None,
            thread_id: "t".to_owned(),
            run_id: run.to_string(),
            pace: Duration::ZERO,
        }
    }

    #[test]
    fn the_oldest_goes_first() {
        let mut kept = KeptRuns::new(2);
        kept.keep(&recipe(1, Workflow::Reference));
        kept.keep(&recipe(2, Workflow::Reference));
        kept.keep(&recipe(1, Workflow::DailyReview));
        assert_eq!(kept.get("t", "1"), Some(recipe(1, Workflow::DailyReview)));
        kept.keep(&recipe(3, Workflow::Reference));
        assert_eq!(kept.get("t", "1"), None);
        assert!(kept.get("t", "2").is_some() && kept.get("t", "3").is_some() && kept.get("u", "3").is_none());
        assert_eq!((kept.recipes.len(), kept.order.len()), (2, 2));
    }
}
