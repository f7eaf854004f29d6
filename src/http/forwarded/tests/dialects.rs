//! The rules of one dialect each.

use actix_web::web::Bytes;
use sha2::{Digest as _, Sha256};

use super::super::{Dialect, HeaderReader};
use super::{
    Read, alb, base64, block, certificate, encoded, escaped, escaped_but, folded, headers, issuer, leaf, pem,
    read, structured, value, xfcc,
};

fn accepted(read: &Read, chain: &[Vec<u8>]) -> bool {
    read.as_ref().is_ok_and(|read| read.as_deref() == Some(chain))
}

/// In hexadecimal digits.
fn sha256(der: &[u8]) -> String {
    format!("{:x}", Bytes::from(Sha256::digest(der).to_vec()))
}

fn chain() -> Vec<Vec<u8>> {
    vec![leaf(), issuer()]
}

#[test]
fn rfc9440_parses_an_item_by_rfc_9651() {
    let odd = certificate(&[0xfb; 102]);
    let bytes = base64(&odd);
    assert!(bytes.ends_with('='), "{bytes}");
    let unpadded = bytes.trim_end_matches('=');
    // the last digit before the padding carries bits that mean nothing
    let mut loose = unpadded.to_owned();
    let last = loose.pop().expect("not empty");
    loose.push(char::from(u8::try_from(last).expect("ASCII") + 1));
    for item in [
        format!(":{bytes}:"),
        format!(":{unpadded}:"),
        format!(":{loose}:"),
        format!("  :{bytes}:  "),
        format!(":{bytes}:;x=1"),
        format!(":{bytes}:; a;b=\"q\\\"\";c=?0;d=:aGk=:;e=@1;f=1.5;g=tok;h=%\"%c3%bc\""),
    ] {
        assert!(accepted(&value(Dialect::Rfc9440, &item), std::slice::from_ref(&odd)), "{item}");
    }
    let url_safe = bytes.replace('+', "-").replace('/', "_");
    assert_ne!(url_safe, bytes);
    for item in [
        bytes.clone(),
        "::".into(),
        ": :".into(),
        format!(":{bytes}"),
        format!("{bytes}:"),
        format!("\"{bytes}\""),
        format!(":{url_safe}:"),
        format!(":{} {}:", &bytes[..8], &bytes[8..]),
        format!(":{bytes} :"),
        format!(": {bytes}:"),
        format!(":{bytes}==:"),
        format!(":{}:", escaped(&bytes)),
        format!(":{bytes}:x"),
        format!(":{bytes}:;X=1"),
        format!(":{bytes}:;x=("),
        format!("(:{bytes}:)"),
        format!("a=:{bytes}:"),
        format!(":{}:", base64(pem(&odd).as_bytes())),
        escaped(&pem(&odd)),
    ] {
        assert!(value(Dialect::Rfc9440, &item).is_err(), "{item}");
    }
}

#[test]
fn rfc9440_reads_a_chain_over_several_lines() {
    let root = certificate(&[3; 50]);
    let main = ("client-cert", structured(&leaf()));
    let whole = [leaf(), issuer(), root.clone()];
    let (first, second) = (structured(&issuer()), structured(&root));
    for lines in [
        vec![format!("{first}, {second}")],
        vec![format!("{first},{second}")],
        vec![format!("{first}\t,\t{second}")],
        vec![first, second],
    ] {
        let lines = lines.into_iter().map(|line| ("client-cert-chain", line));
        let lines: Vec<_> = [main.clone()].into_iter().chain(lines).collect();
        assert!(accepted(&read(Dialect::Rfc9440, &lines), &whole), "{lines:?}");
    }
    let empty = ("client-cert-chain", String::new());
    assert!(accepted(&read(Dialect::Rfc9440, &[main.clone(), empty.clone(), empty.clone()]), &whole[..1]));
    assert_eq!(read(Dialect::Rfc9440, &[("client-cert", String::new()), empty]), Ok(None));
}

#[test]
fn rfc9440_refuses_a_chain_that_is_no_list_of_bare_byte_sequences() {
    let (main, issuer) = (("client-cert", structured(&leaf())), structured(&issuer()));
    for line in [
        format!("{issuer};x=1"),
        format!("{issuer};x"),
        format!("{issuer}, \"text\""),
        format!("{issuer}, 1"),
        format!("({issuer})"),
        format!("{issuer},"),
        format!("{issuer} {issuer}"),
        "::".into(),
        format!("a={issuer}"),
        base64(&leaf()),
    ] {
        let read = read(Dialect::Rfc9440, &[main.clone(), ("client-cert-chain", line.clone())]);
        assert!(read.is_err(), "{line}");
    }
    let blank_line = [main, ("client-cert-chain", String::new()), ("client-cert-chain", issuer)];
    assert!(read(Dialect::Rfc9440, &blank_line).is_err());
}

#[test]
fn rfc9440_refuses_a_chain_without_a_leaf_and_the_leaf_in_the_chain() {
    let chain = |der: &[Vec<u8>]| {
        ("client-cert-chain", der.iter().map(|der| structured(der)).collect::<Vec<_>>().join(", "))
    };
    assert!(read(Dialect::Rfc9440, &[chain(&[issuer()])]).is_err());
    assert!(read(Dialect::Rfc9440, &[("client-cert", String::new()), chain(&[issuer()])]).is_err());
    let main = ("client-cert", structured(&leaf()));
    assert!(read(Dialect::Rfc9440, &[main.clone(), chain(&[leaf()])]).is_err());
    assert!(read(Dialect::Rfc9440, &[main, chain(&[issuer(), leaf()])]).is_err());
}

#[test]
fn nginx_takes_escaped_pem_of_one_certificate() {
    let text = pem(&leaf());
    assert!(text.contains('+'));
    let lower_case = ["%0A", "%2B", "%2F", "%3D"]
        .iter()
        .fold(escaped(&text), |text, code| text.replace(code, &code.to_lowercase()));
    for good in [escaped(&text), escaped_but(&text, "-+/="), escaped(text.trim_end()), lower_case] {
        assert!(accepted(&value(Dialect::Nginx, &good), &[leaf()]), "{good}");
    }
    for bad in [
        folded(&text),
        text.replace('\n', "\t"),
        base64(&leaf()),
        escaped(&base64(&leaf())),
        escaped(&escaped(&text)),
        escaped(&format!("{text}{text}")),
        escaped(&format!("{text}{}", pem(&issuer()))),
        escaped(&format!("subject=CN=a\n{text}")),
        escaped(&format!("\n{text}")),
        escaped(&format!("{text}text")),
        escaped(&format!("{text}\n")),
        escaped(&block("TRUSTED CERTIFICATE", &leaf())),
        escaped(&block("X509 CERTIFICATE", &leaf())),
        escaped(&block("PRIVATE KEY", &leaf())),
        escaped(&format!("{text}{}", block("PRIVATE KEY", &issuer()))),
        escaped(&text.replace("END CERTIFICATE", "END CRL")),
        escaped(&text.replacen('\n', "", 1)),
        escaped(&text.replacen('\n', "\n\n", 1)),
        escaped(&text.replacen('\n', "\nProc-Type: 4,ENCRYPTED\n\n", 1)),
        escaped(&pem(&[leaf(), vec![0]].concat())),
        escaped(&text).replace("%0A", "%0"),
        escaped(&text).replace("%0A", "%0G"),
        escaped(&text).replace("%0A", "%+A"),
        escaped(&text).replace("%0A", "%00"),
        escaped(&text).replace("%2B", "%20"),
        escaped(&text).replace("%20", "+"),
        format!("{}%", escaped(&text)),
        "-----BEGIN%20CERTIFICATE-----%0A-----END%20CERTIFICATE-----%0A".into(),
    ] {
        assert!(value(Dialect::Nginx, &bad).is_err(), "{bad}");
    }
    assert!(value(Dialect::Nginx, [b"%41\xff", escaped(&text).as_bytes()].concat()).is_err());
}

#[test]
fn nginx_may_say_what_it_thinks_of_the_certificate_but_not_that_there_is_none() {
    let main = ("x-ssl-client-cert", escaped(&pem(&leaf())));
    let verify = |says: &str| ("x-ssl-client-verify", says.to_owned());
    for says in ["SUCCESS", "FAILED", "FAILED:self-signed certificate", "FAILED:certificate has expired", ""]
    {
        assert!(accepted(&read(Dialect::Nginx, &[main.clone(), verify(says)]), &[leaf()]), "{says}");
        assert_eq!(read(Dialect::Nginx, &[verify(says)]), Ok(None), "{says}");
    }
    assert_eq!(read(Dialect::Nginx, &[verify("NONE")]), Ok(None));
    for says in ["NONE", "success", "SUCCESS, NONE", "FAILEDX", "1"] {
        let error = read(Dialect::Nginx, &[main.clone(), verify(says)]).unwrap_err();
        assert!(error.to_string().starts_with("the header x-ssl-client-verify"), "{error}");
    }
    assert!(read(Dialect::Nginx, &[main, verify("SUCCESS"), verify("SUCCESS")]).is_err());
}

#[test]
fn apache_takes_pem_with_blanks_of_one_certificate() {
    let text = folded(&pem(&leaf()));
    for good in [text.clone(), text.trim_end().into()] {
        assert!(accepted(&value(Dialect::Apache, &good), &[leaf()]), "{good}");
    }
    for bad in [
        escaped(&pem(&leaf())),
        base64(&leaf()),
        pem(&leaf()).replace('\n', "\t"),
        pem(&leaf()).replace('\n', ""),
        text.replace(' ', "  "),
        format!("{text}{text}"),
        format!("{text}{}", folded(&pem(&issuer()))),
        format!("text {text}"),
        format!("{text}text"),
        folded(&block("TRUSTED CERTIFICATE", &leaf())),
        folded(&block("PRIVATE KEY", &leaf())),
        "null".into(),
        "(NULL)".into(),
        format!("(null) {text}"),
    ] {
        assert!(value(Dialect::Apache, &bad).is_err(), "{bad}");
    }
}

#[test]
fn envoy_takes_one_element_with_its_certificate() {
    let cert = escaped(&pem(&leaf()));
    let all = format!("{cert}{}", escaped(&pem(&issuer())));
    let hash = sha256(&leaf());
    for (element, expected) in [
        (format!("Cert=\"{cert}\""), &chain()[..1]),
        (format!("cert=\"{cert}\""), &chain()[..1]),
        (format!("Cert={cert}"), &chain()[..1]),
        (format!("Hash={hash};Cert=\"{cert}\""), &chain()[..1]),
        (format!("Cert=\"{cert}\";HASH={}", hash.to_uppercase()), &chain()[..1]),
        (format!("Cert=\"{cert}\";Chain=\"{all}\""), &chain()),
        (format!("Chain=\"{all}\";Cert=\"{cert}\""), &chain()),
        (format!("By=a;By=b;Cert=\"{cert}\";Subject=\"\";URI=;DNS=a;DNS=b"), &chain()[..1]),
        (format!("Subject=\"O=a\\\"b\\\\,OU=c;d\\,e\";Cert=\"{cert}\""), &chain()[..1]),
        (format!("Subject=\"CN=a\\\\\";Cert=\"{cert}\";URI=spiffe://a/b?c=d"), &chain()[..1]),
        (format!("Subject=\"\\\";Cert=\\\"x\\\"\";Cert=\"{cert}\""), &chain()[..1]),
    ] {
        assert!(accepted(&value(Dialect::Envoy, &element), expected), "{element}");
    }
}

#[test]
fn envoy_refuses_an_element_that_leaves_a_doubt() {
    let cert = escaped(&pem(&leaf()));
    let other = escaped(&pem(&issuer()));
    let hash = sha256(&issuer());
    for element in [
        format!("By=a;Hash={hash};Subject=\"CN=a\";URI=spiffe://a;DNS=a"),
        format!("Chain=\"{cert}\""),
        "Cert=".into(),
        "Cert=\"\"".into(),
        format!("Cert=\"{cert}\",Cert=\"{other}\""),
        format!("Cert=\"{cert}\",By=a"),
        format!("By=a,Cert=\"{cert}\""),
        format!("Cert=\"{cert}\";Cert=\"{cert}\""),
        format!("Cert=\"{cert}\";cert=\"{other}\""),
        format!("Cert=\"{cert}\";Chain=\"{cert}\";Chain=\"{cert}\""),
        format!("Hash={hash};Cert=\"{cert}\""),
        format!("Hash=;Cert=\"{cert}\""),
        format!("Hash=\"\";Cert=\"{cert}\""),
        format!("Cert=\"{cert}\";Chain=\"{other}\""),
        format!("Cert=\"{cert}\";Chain=\"{other}{cert}\""),
        format!("Cert=\"{cert}\";Chain=\"\""),
        format!("Cert=\"{cert}{other}\""),
        format!("Cert=\"{}\"", folded(&pem(&leaf()))),
        format!("Cert=\"{}\"", base64(&leaf())),
        format!("Cert=\"{cert}"),
        format!("Cert=\"{cert}\\\""),
        format!("Cert=\"{cert}\"x"),
        format!("Cert=x\"{cert}\""),
        format!("Cert=\"{cert}\";"),
        format!(";Cert=\"{cert}\""),
        format!("Cert=\"{cert}\"; Chain=\"{cert}\""),
        format!("Cert =\"{cert}\""),
        format!("Cert\"{cert}\""),
        format!("=a;Cert=\"{cert}\""),
        format!("By=\"a;Cert=\"{cert}\""),
        format!("URI=a\"b;Cert=\"{cert}\""),
        cert.clone(),
        format!("\"Cert={cert}\""),
    ] {
        assert!(value(Dialect::Envoy, &element).is_err(), "{element}");
    }
}

/// Who names himself `…";Cert="…` stays in his quotes, because RFC 2253 escapes them.
#[test]
fn a_subject_in_xfcc_cannot_bring_a_certificate() {
    let victim = escaped(&pem(&issuer()));
    for subject in [format!("CN=\\\"\\;Cert=\\\"{victim}"), format!("CN=a\\\\\\\"\\;Cert=\\\"{victim}\\\"")] {
        let element = format!("Hash=00;Subject=\"{subject}\"");
        assert!(value(Dialect::Envoy, &element).is_err(), "{element}");
        let element = format!("Cert=\"{}\";Subject=\"{subject}\"", escaped(&pem(&leaf())));
        assert!(accepted(&value(Dialect::Envoy, &element), &[leaf()]), "{element}");
    }
    // a URI is not quoted: it can spoil its own request, not take another's certificate
    let injected = format!("{};Cert=\"{victim}\"", xfcc(&[leaf()]));
    assert!(value(Dialect::Envoy, injected).is_err());
}

#[test]
fn haproxy_takes_a_leaf_and_a_concatenated_chain() {
    let root = certificate(&[3; 50]);
    let lines = |main: String, chain: String| [("x-ssl-client-der", main), ("x-ssl-client-chain-der", chain)];
    let issuers = [issuer(), root.clone()].concat();
    let whole = [leaf(), issuer(), root];
    assert!(accepted(&read(Dialect::HaProxy, &lines(base64(&leaf()), base64(&issuers))), &whole));
    let with_leaf = base64(&[leaf(), issuers.clone()].concat());
    assert!(accepted(&read(Dialect::HaProxy, &lines(base64(&leaf()), with_leaf)), &whole));
    assert!(accepted(&read(Dialect::HaProxy, &lines(base64(&leaf()), String::new())), &whole[..1]));
    assert_eq!(read(Dialect::HaProxy, &lines(String::new(), String::new())), Ok(None));
    for (main, chain) in [
        (String::new(), base64(&issuers)),
        (base64(&leaf()), base64(&[issuers.clone(), leaf()].concat())),
        (base64(&leaf()), base64(&[leaf(), leaf()].concat())),
        (base64(&leaf()), base64(&issuers[..issuers.len() - 1])),
        (base64(&leaf()), base64(&[issuers.clone(), vec![0]].concat())),
        (base64(&leaf()), format!("{},{}", base64(&issuer()), base64(&issuer()))),
        (base64(&whole.concat()), String::new()),
        (format!("\"{}\"", base64(&leaf())), String::new()),
        (escaped(&pem(&leaf())), String::new()),
        (format!("{:X}", Bytes::from(leaf())), String::new()),
    ] {
        assert!(read(Dialect::HaProxy, &lines(main.clone(), chain.clone())).is_err(), "{main} {chain}");
    }
}

#[test]
fn traefik_takes_a_comma_separated_chain_escaped_or_not() {
    let list = |of: fn(&str) -> String, comma: &str| {
        chain().iter().map(|der| of(&base64(der))).collect::<Vec<_>>().join(comma)
    };
    for good in [list(str::to_owned, ","), list(escaped, ","), list(escaped, "%2C")] {
        assert!(accepted(&value(Dialect::Traefik, &good), &chain()), "{good}");
    }
    for bad in [
        list(str::to_owned, ", "),
        list(str::to_owned, ";"),
        list(str::to_owned, ""),
        format!("{},{}", base64(&leaf()), escaped(&base64(&issuer()))),
        escaped(&base64(&leaf())).replace("%2B", "+"),
        escaped(&base64(&leaf())).replace("%2B", "%20"),
        base64(&leaf()).replace('+', " "),
        escaped(&pem(&leaf())),
        escaped(&pem(&leaf()).replace('\n', "")),
        base64(&leaf()).replace('+', "-").replace('/', "_"),
        ",".into(),
    ] {
        assert!(value(Dialect::Traefik, &bad).is_err(), "{bad}");
    }
}

#[test]
fn aws_alb_takes_a_chain_or_a_leaf_and_both_only_if_they_agree() {
    let chain = chain();
    let text = format!("{}{}", pem(&leaf()), pem(&issuer()));
    let whole = ("x-amzn-mtls-clientcert", alb(&text));
    let only = |der: &[u8]| ("x-amzn-mtls-clientcert-leaf", alb(&pem(der)));
    assert!(whole.1.contains('+') && whole.1.contains('='));
    assert!(accepted(&read(Dialect::AwsAlb, std::slice::from_ref(&whole)), &chain));
    assert!(accepted(&value(Dialect::AwsAlb, escaped(&text)), &chain));
    assert!(accepted(&read(Dialect::AwsAlb, &[only(&leaf())]), &chain[..1]));
    assert!(accepted(&read(Dialect::AwsAlb, &[whole.clone(), only(&leaf())]), &chain));
    let subject = ("x-amzn-mtls-clientcert-subject", "CN=a".to_owned());
    assert!(accepted(&read(Dialect::AwsAlb, &[only(&leaf()), subject]), &chain[..1]));
    assert!(read(Dialect::AwsAlb, &[whole.clone(), only(&issuer())]).is_err());
    // Configured by its name, the header of one mode is the only one that lets anybody in.
    let passthrough = HeaderReader::new(Dialect::AwsAlb, Some("X-Amzn-Mtls-Clientcert")).unwrap();
    assert!(passthrough.read(&headers(&[only(&leaf())])).is_err());
    assert!(accepted(&passthrough.read(&headers(std::slice::from_ref(&whole))), &chain));
    assert!(read(Dialect::AwsAlb, &[whole, ("x-amzn-mtls-clientcert-leaf", "x".to_owned())]).is_err());
    assert!(read(Dialect::AwsAlb, &[("x-amzn-mtls-clientcert-leaf", alb(&text))]).is_err());
    assert!(read(Dialect::AwsAlb, &[only(&leaf()), only(&leaf())]).is_err());
    for bad in [
        alb(&text).replace('+', "%20"),
        alb(&format!("{}\n{}", pem(&leaf()), pem(&issuer()))),
        alb(&format!("{}{}", pem(&leaf()), block("PRIVATE KEY", &issuer()))),
        alb(&format!("{text}text")),
        folded(&text),
        base64(&leaf()),
    ] {
        assert!(value(Dialect::AwsAlb, &bad).is_err(), "{bad}");
    }
}

#[test]
fn azure_takes_base64_and_nothing_else() {
    let good = base64(&certificate(&[0xfb; 102]));
    assert!(good.ends_with('=') && value(Dialect::Azure, &good).is_ok());
    for bad in [
        good.trim_end_matches('=').to_owned(),
        format!("{good}="),
        good.replace('+', "-"),
        format!("{} {}", &good[..8], &good[8..]),
        format!(":{good}:"),
        escaped(&good),
        folded(&pem(&leaf())),
        encoded(Dialect::Traefik, &chain()).remove(0).1,
    ] {
        assert!(value(Dialect::Azure, &bad).is_err(), "{bad}");
    }
}
