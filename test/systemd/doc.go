// Package systemd owns the proof that authsvc works with systemd: its unit is valid and
// hardened, and what the process tells systemd is true. Tests only.
package systemd
