//! Certificates for servers on this machine.

use std::path::Path;
use std::process::Command;

/// Creates certificates in `dir`: `ca.pem`, `other.pem` of another authority, and `cert.pem` with
/// `key.pem` for 127.0.0.1 only.
pub fn certify(dir: &Path) {
    let openssl = |arguments: &str| {
        let ran = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output();
        let ran = ran.expect("openssl is installed");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    };
    std::fs::write(dir.join("names"), "subjectAltName=IP:127.0.0.1").unwrap();
    for name in ["ca", "other"] {
        let what = format!("-keyout {name}.key -out {name}.pem -subj /CN={name}");
        openssl(&format!("req -x509 -newkey rsa:2048 -nodes {what} -days 9"));
    }
    openssl("req -newkey rsa:2048 -nodes -keyout key.pem -out csr -subj /CN=broker");
    openssl(
        "x509 -req -in csr -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 9 \
         -extfile names",
    );
}
