package redistest

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Record is a key of a dump.
type Record struct {
	DB    int
	Key   string
	Value []byte // as returned by DUMP, uncompressed: it contains the bytes of every string
}

// Grants returns the records that are grants: all other keys of authsvc have a brace.
func Grants(all []Record) []Record {
	return slices.DeleteFunc(all, func(r Record) bool { return strings.Contains(r.Key, "{") })
}

// Dump returns every key of every database; for a cluster node, also those of a slot
// that is being migrated to it.
func (s *Server) Dump() []Record {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn := s.Client().Conn()
	defer conn.Close()
	do := func(args ...any) {
		s.t.Helper()
		if err := conn.Do(ctx, args...).Err(); err != nil {
			s.t.Fatalf("%v: %v", args, err)
		}
	}
	dbs := 16
	if s.busPort != "" {
		dbs = 1
		do("READONLY") // so that a replica shows what it has
		defer do("READWRITE")
	}
	var all []Record
	for db := range dbs {
		do("SELECT", db)
		keys := conn.Scan(ctx, 0, "*", 1000).Iterator()
		for keys.Next(ctx) {
			if s.busPort != "" {
				do("ASKING")
			}
			value, err := conn.Dump(ctx, keys.Val()).Bytes()
			if errors.Is(err, redis.Nil) {
				continue // expired meanwhile
			}
			if err != nil {
				s.t.Fatalf("DUMP: %v", err)
			}
			all = append(all, Record{DB: db, Key: keys.Val(), Value: value})
		}
		if err := keys.Err(); err != nil {
			s.t.Fatalf("SCAN: %v", err)
		}
	}
	do("SELECT", 0) // the connection goes back to its pool
	return all
}
