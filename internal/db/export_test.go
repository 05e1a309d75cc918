package db

// CheckPostgresURL checks a URL of PostgreSQL.
var CheckPostgresURL = checkPostgresURL
