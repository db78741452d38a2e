//! Certificates, by when they end.

use mesh_api::admin::CertificateStatus;

use crate::table::Column::Left;
use crate::table::Table;
use crate::units;

pub(super) fn certificate_table(certificates: &[CertificateStatus], now: i64) -> String {
    let mut table = Table::new([
        Left("IDENTITY"),
        Left("SERIAL"),
        Left("EXPIRES"),
        Left("RENEWAL"),
        Left("LAST ERROR"),
    ]);
    for certificate in certificates {
        // A first one that could not be had is listed with its error alone.
        let moment = |moment| {
            if certificate.serial.is_empty() {
                String::new()
            } else {
                units::relative(moment, now)
            }
        };
        table.push([
            certificate.identity.clone(),
            certificate.serial.clone(),
            moment(certificate.not_after),
            moment(certificate.renewal),
            certificate.last_error.clone().unwrap_or_default(),
        ]);
    }
    table.render("No certificates. They come with the first enrolled workload of this node.")
}
