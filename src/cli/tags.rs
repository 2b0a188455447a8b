//! `edge-scorer tags`: the tags in the database, with their number of images and mean score.

use std::io::stdout;

use clap::Args;
use serde_json::json;

use super::options::{Common, ListFormat, ListOutput};
use crate::store::Store;
use edge_cli::Outcome;
use edge_cli::output::{Table, write_json};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    output: ListOutput,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let store = Store::open_read_only(&arguments.common.database()?)?;
    let tags = store.tags()?;
    match arguments.output.format {
        ListFormat::Table => {
            let mut table = Table::new(&["images", "mean score", "tag"]);
            for tag in tags {
                let mean = tag.mean_score.map_or_else(|| "-".to_owned(), |m| format!("{m:.3}"));
                table.push(vec![tag.images.to_string(), mean, tag.text]);
            }
            table.write(&mut stdout().lock())?;
        }
        ListFormat::Json => {
            let rows: Vec<_> =
                tags.iter().map(|t| json!({ "tag": t.text, "images": t.images, "mean_score": t.mean_score })).collect();
            write_json(&mut stdout(), &rows)?;
        }
    }
    Ok(())
}
