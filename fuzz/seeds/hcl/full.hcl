# Seed for the fuzzer; not an example.
vault {
  address = "https://vault.service.consul:8200"
}

certificate "loki" {
  common_name = "loki-ingester.service.consul"
  ttl         = "10d"
  ip_sans     = ["10.0.0.7"]
}
