//! Selects the reader for a `--data` argument, and joins several data sets.

use std::path::Path;

use super::example::DataSet;
use super::read_options::ReadOptions;
use super::{DataError, agiqa, ava, damage, inside, style, table};

/// Reads the table that `spec` names: `ava:DIR`, `agiqa:DIR`, `style:DIR`, `damage:DIR`, `table:FILE`, or a path whose format can be
/// recognised from its content or file name.
///
/// # Errors
/// [`DataError`], which names the file and, if there is one, the line.
pub fn read(spec: &str, options: &ReadOptions) -> Result<DataSet, DataError> {
    let (format, path) = format_and_path(spec);
    let data = match format {
        Some(Format::Ava) => ava::read(path, options),
        Some(Format::Agiqa) => agiqa::read(path),
        Some(Format::Style) => style::read(path),
        Some(Format::Damage) => damage::read(path),
        Some(Format::Table) => table::read(path),
        None => match std::fs::metadata(path) {
            Ok(_) => Err(DataError::Unrecognised { path: path.to_owned() }),
            Err(e) => Err(DataError::missing(path)(e)),
        },
    }?;
    if !options.allow_outside {
        let root = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        inside::require(root, path, data.examples.iter().map(|example| example.path.as_path()))?;
    }
    Ok(data)
}

/// The formats of data sets.
enum Format {
    Ava,
    Agiqa,
    Style,
    Damage,
    Table,
}

/// Returns the format that `spec` states or that its path is recognised to have, and the path.
fn format_and_path(spec: &str) -> (Option<Format>, &Path) {
    let stated = spec.split_once(':').and_then(|(format, path)| {
        let format = match format {
            "ava" => Format::Ava,
            "agiqa" => Format::Agiqa,
            "style" => Format::Style,
            "damage" => Format::Damage,
            "table" => Format::Table,
            _ => return None,
        };
        Some((Some(format), Path::new(path)))
    });
    let path = Path::new(spec);
    let recognised = || {
        let format = if ava::recognises(path) {
            Some(Format::Ava)
        } else if agiqa::recognises(path) {
            Some(Format::Agiqa)
        } else if style::recognises(path) {
            Some(Format::Style)
        } else if damage::recognises(path) {
            Some(Format::Damage)
        } else {
            (path.is_file() && table::recognises(path)).then_some(Format::Table)
        };
        (format, path)
    };
    stated.unwrap_or_else(recognised)
}

/// Reads several data sets as one. All must have the same score scale.
///
/// # Errors
/// [`DataError`].
pub fn read_all(specs: &[String], options: &ReadOptions) -> Result<DataSet, DataError> {
    let mut sets = specs.iter().map(|spec| read(spec, options)).collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<String> = Vec::new();
    for set in &mut sets {
        let same = names.iter().filter(|n| **n == set.name).count();
        names.push(set.name.clone());
        if same > 0 {
            set.name = format!("{} ({})", set.name, same + 1);
        }
        set.examples.iter_mut().for_each(|e| e.source.clone_from(&set.name));
    }
    if sets.len() == 1 {
        return Ok(sets.remove(0));
    }
    let scales: Vec<_> = sets.iter().map(|set| set.scale).collect();
    if scales.windows(2).any(|pair| pair[0] != pair[1]) {
        let stated = |set: &DataSet| match set.scale {
            Some((low, high)) => format!("the scale of {} is {low} to {high}", set.name),
            None => format!("{} states no scale", set.name),
        };
        return Err(DataError::Scales { found: sets.iter().map(stated).collect::<Vec<_>>().join(", ") });
    }
    let joined = |of: fn(&DataSet) -> &String, separator: &str| {
        let mut texts: Vec<&str> = Vec::new();
        for text in sets.iter().map(of) {
            if !texts.contains(&text.as_str()) {
                texts.push(text);
            }
        }
        texts.join(separator)
    };
    Ok(DataSet {
        name: joined(|s| &s.name, " and "),
        licence: joined(|s| &s.licence, "; "),
        about: joined(|s| &s.about, " "),
        // All data sets have the same scale; the first one describes its unit.
        unit: sets[0].unit.clone(),
        scale: scales[0],
        test_share: None,
        notes: sets.iter().flat_map(|s| s.notes.clone()).collect(),
        examples: sets.into_iter().flat_map(|s| s.examples).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_path_says_what_could_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let error = read(dir.path().to_str().unwrap(), &ReadOptions::default()).unwrap_err();
        assert!(error.to_string().contains("agiqa:DIR"), "{error}");
        let error = read("/nowhere/data.csv", &ReadOptions::default()).unwrap_err();
        assert!(error.to_string().contains("Check the path given to --data"), "{error}");
    }

    #[test]
    fn images_outside_the_data_set_need_permission() {
        let dir = tempfile::tempdir().unwrap();
        let table = dir.path().join("data/ratings.csv");
        std::fs::create_dir(dir.path().join("data")).unwrap();
        std::fs::write(&table, "path,tag,score\na.png,dog,1\n../b.png,dog,2\n").unwrap();
        for spec in [table.to_str().unwrap().to_owned(), format!("table:{}", table.display())] {
            let error = read(&spec, &ReadOptions::default()).unwrap_err();
            assert!(matches!(&error, DataError::Outside { image, .. } if image.ends_with("../b.png")), "{error}");
            let allowed = read(&spec, &ReadOptions { allow_outside: true, ..ReadOptions::default() }).unwrap();
            assert_eq!(allowed.examples.len(), 2);
        }
    }
}
