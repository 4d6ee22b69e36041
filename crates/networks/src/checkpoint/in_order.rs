//! Networks of other code, whose names no layout knows: what a `state_dict` lists in the order of ours, with the same shapes, is
//! the same network in all codes that we know of (kuangliu's and torchvision's ResNets, the small-stem ShuffleNets).

use delt_architectures::{Description, StateTensor};
use delt_formats::NamedTensor;

use super::{ByName, Found, is_within, left_out};
use crate::error::NetworkError;
use crate::named::first_of;
use crate::state_dict::{BATCH_COUNT, Entry, entries};

/// Finds tensors that follow each other as those of a network do, by the last part of the name and the shape. `order` are the
/// names as the file lists them; `key` as for [`super::find`]. None where no such tensors are there, or others stand among them.
///
/// # Errors
/// Several copies.
pub fn find_in_order(
    wanted: &Description,
    tensors: &[NamedTensor],
    order: &[String],
    key: Option<&str>,
) -> Result<Option<Found>, NetworkError> {
    let by_name: ByName<'_> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let of_network = |entry| if let Entry::Tensor(tensor) = entry { Some(tensor) } else { None };
    let ours: Vec<StateTensor> = entries(wanted).into_iter().filter_map(of_network).collect();
    let theirs: Vec<&NamedTensor> = order
        .iter()
        .filter(|name| !name.ends_with(BATCH_COUNT) && key.is_none_or(|key| is_within(name, key)))
        .filter_map(|name| by_name.get(name.as_str()).copied())
        .collect();
    let is_alike = |(ours, theirs): (&StateTensor, &&NamedTensor)| {
        ours.shape == theirs.shape && leaf(&ours.name) == leaf(&theirs.name)
    };
    let is_network = |copy: &&[&NamedTensor]| ours.iter().zip(*copy).all(is_alike);
    let copies: Vec<&[&NamedTensor]> = theirs.windows(ours.len()).filter(is_network).collect();
    let copy = match copies.as_slice() {
        [] => return Ok(None),
        [copy] => *copy,
        several => {
            let keys: Vec<String> =
                several.iter().map(|copy| format!("`{}`", prefix(copy).trim_end_matches('.'))).collect();
            return Err(NetworkError::SeveralCopies { keys: first_of(&keys) });
        }
    };
    let prefix = prefix(copy);
    if theirs.iter().filter(|tensor| tensor.name.starts_with(prefix)).count() > copy.len() {
        return Ok(None);
    }
    let renamed = |(ours, theirs): (&StateTensor, &&NamedTensor)| NamedTensor {
        name: ours.name.clone(),
        ..(*theirs).clone()
    };
    let mut own: Vec<NamedTensor> = ours.iter().zip(copy).map(renamed).collect();
    own.sort_by(|a, b| a.name.cmp(&b.name));
    let under = match prefix {
        "" => String::new(),
        prefix => format!(" under `{}`", prefix.trim_end_matches('.')),
    };
    let mut said = format!(
        "reads the tensors{under} by their order and shapes, since their names are those of other code (`{}` for `{}`)",
        &copy[0].name[prefix.len()..],
        ours[0].name
    );
    let others: Vec<&str> = by_name.keys().copied().filter(|name| !name.starts_with(prefix)).collect();
    if let Some(others) = left_out(&others, prefix) {
        said += &format!(", {others}");
    }
    Ok(Some(Found { tensors: own, preferred: None, said: Some(said) }))
}

fn leaf(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

/// The parts that all names begin with, the last dot included.
fn prefix<'a>(copy: &[&'a NamedTensor]) -> &'a str {
    let [first, rest @ ..] = copy else { return "" };
    let ends = first.name.match_indices('.').map(|(at, _)| &first.name[..=at]);
    ends.take_while(|beginning| rest.iter().all(|tensor| tensor.name.starts_with(beginning)))
        .last()
        .unwrap_or("")
}

#[cfg(test)]
mod tests {
    use delt_architectures::Architecture;
    use delt_formats::TensorValues;

    use super::*;

    const RESNET: Architecture = Architecture::Resnet20Cifar {};

    /// The tensors of a network with numbers for names, and their order; all values are this one.
    fn copy(prefix: &str, value: f32) -> (Vec<NamedTensor>, Vec<String>) {
        let mut tensors = Vec::new();
        for (number, ours) in RESNET.description(32, 10).tensors().enumerate() {
            let name = format!("{prefix}layer{}.{}", 100 - number, leaf(&ours.name));
            let values = TensorValues::F32(vec![value; ours.count()]);
            tensors.push(NamedTensor { name, shape: ours.shape.clone(), values });
        }
        let order = tensors.iter().map(|tensor| tensor.name.clone()).collect();
        // as files are read
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        (tensors, order)
    }

    fn other(name: &str) -> NamedTensor {
        NamedTensor { name: name.to_owned(), shape: vec![16], values: TensorValues::F32(vec![9.0; 16]) }
    }

    #[test]
    fn a_network_with_names_of_other_code_is_read_by_its_order_and_said_to_be() {
        let (mut tensors, mut order) = copy("state_dict.module.", 1.0);
        for name in ["state_dict.module.layer99.num_batches_tracked", "best_prec1"] {
            tensors.push(other(name));
            order.insert(0, name.to_owned());
        }
        let wanted = RESNET.description(32, 10);
        let found = find_in_order(&wanted, &tensors, &order, None).expect("one copy").expect("found");
        crate::Network::check_named(&RESNET, 10, 32, &found.tensors).expect("they fit");
        let said = "reads the tensors under `state_dict.module` by their order and shapes, since their names are those of other \
                    code (`layer100.weight` for `conv1.weight`), leaves out `best_prec1` (1 tensor)";
        assert_eq!(found.said.as_deref(), Some(said));
        // of another order, of another number of classes, without the order
        let mut mixed = order.clone();
        mixed.swap(2, 5);
        for (wanted, order) in [(&wanted, mixed), (&RESNET.description(32, 9), order), (&wanted, Vec::new())]
        {
            assert!(find_in_order(wanted, &tensors, &order, None).expect("no copies").is_none());
        }
    }

    #[test]
    fn a_network_among_other_tensors_is_refused_and_of_copies_one_has_to_be_named() {
        let (mut tensors, mut order) = copy("net.", 1.0);
        let wanted = RESNET.description(32, 10);
        let (more, more_order) = copy("ema.", 2.0);
        let both = [tensors.clone(), more].concat();
        let both_order = [order.clone(), more_order].concat();
        assert_eq!(
            find_in_order(&wanted, &both, &both_order, None).expect_err("refused").to_string(),
            "holds several copies of the network with other values, under `net`, `ema`; name one by import.top_level_key"
        );
        assert!(find_in_order(&wanted, &both, &both_order, Some("ema")).expect("one copy").is_some());
        tensors.push(other("net.head.weight"));
        order.push("net.head.weight".to_owned());
        assert!(find_in_order(&wanted, &tensors, &order, None).expect("one copy").is_none());
    }
}
