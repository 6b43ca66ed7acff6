//! Keys, and a certificate, that cannot be made here, or not fast: made with OpenSSL once, used nowhere else.

macro_rules! keys {
    ($($name:ident = $file:literal),* $(,)?) => {
        $(#[doc = concat!("`keys/", $file, ".pem`.")] pub const $name: &str = include_str!(concat!("keys/", $file, ".pem"));)*
    };
}

keys! {
    RSA_1024_PKCS1 = "rsa-1024.pkcs1",
    RSA_1024_PKCS8 = "rsa-1024.pkcs8",
    RSA_1024_PUBLIC = "rsa-1024.public",
    RSA_2048_PKCS1 = "rsa-2048.pkcs1",
    RSA_2048_PKCS8 = "rsa-2048.pkcs8",
    RSA_3072_PKCS1 = "rsa-3072.pkcs1",
    RSA_4096_PKCS1 = "rsa-4096.pkcs1",
    EC_P256_SEC1 = "ec-p256.sec1",
    EC_P256_PKCS8 = "ec-p256.pkcs8",
    EC_P256_WITH_PARAMS = "ec-p256.with-params",
    EC_P384_SEC1 = "ec-p384.sec1",
    EC_P384_PKCS8 = "ec-p384.pkcs8",
    EC_P224_SEC1 = "ec-p224.sec1",
    EC_P224_PKCS8 = "ec-p224.pkcs8",
    EC_P521_SEC1 = "ec-p521.sec1",
    EC_P521_PKCS8 = "ec-p521.pkcs8",
    EC_K256_SEC1 = "ec-k256.sec1",
    EC_K256_PKCS8 = "ec-k256.pkcs8",
    ED25519_PKCS8 = "ed25519.pkcs8",
    ROOT_V1 = "root-v1",
    ENCRYPTED_PKCS8 = "encrypted.pkcs8",
    ENCRYPTED_SEC1 = "encrypted.sec1",
}
