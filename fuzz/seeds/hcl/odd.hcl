certificate {
  ttl = "${env}"
  x = <<EOT
a
EOT
}
