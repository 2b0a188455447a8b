//! Selects the reader for a `--data` argument, and joins several data sets.

use std::path::Path;

use super::example::DataSet;
use super::read_options::ReadOptions;
use super::{DataError, agiqa, ava, damage, style, table};

/// Reads the table that `spec` names: `ava:DIR`, `agiqa:DIR`, `style:DIR`, `damage:DIR`, `table:FILE`, or a path whose format can be
/// recognised from its content or file name.
///
/// # Errors
/// [`DataError`], which names the file and, if there is one, the line.
pub fn read(spec: &str, options: &ReadOptions) -> Result<DataSet, DataError> {
    if let Some((format, path)) = spec.split_once(':') {
        let path = Path::new(path);
        match format {
            "ava" => return ava::read(path, options),
            "agiqa" => return agiqa::read(path),
            "style" => return style::read(path),
            "damage" => return damage::read(path),
            "table" => return table::read(path),
            _ => {}
        }
    }
    let path = Path::new(spec);
    if ava::recognises(path) {
        return ava::read(path, options);
    }
    if agiqa::recognises(path) {
        return agiqa::read(path);
    }
    if style::recognises(path) {
        return style::read(path);
    }
    if damage::recognises(path) {
        return damage::read(path);
    }
    match std::fs::metadata(path) {
        Ok(m) if m.is_file() && table::recognises(path) => table::read(path),
        Ok(_) => Err(DataError::Unrecognised { path: path.to_owned() }),
        Err(e) => Err(DataError::missing(path)(e)),
    }
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
}
