package redisconn

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// slotCount is the number of hash slots of a Cluster.
const slotCount = 1 << 14

// Shard is a part of the keys that one primary has: a range of hash slots of a Cluster,
// from First to Last, or all of them. It outlives a change of the primary.
type Shard struct{ First, Last int }

// Everything is the only shard without a Cluster.
var Everything = Shard{0, slotCount - 1}

// String returns the slots of the shard: "all", or "0-5460".
func (s Shard) String() string {
	if s == Everything {
		return "all"
	}
	return fmt.Sprintf("%d-%d", s.First, s.Last)
}

// Key returns a key of the shard, the same each time: prefix, a tag in braces, and name.
// It takes up to a few milliseconds.
func (s Shard) Key(prefix, name string) string {
	for n := 0; ; n++ {
		if tag := strconv.Itoa(n); Slot(tag) == s.First {
			return prefix + "{" + tag + "}" + name
		}
	}
}

// Shards returns the shards in the order of their slots, which are all slots: those that
// no primary has are shards as well. It knows nothing yet of slots moved to another node
// just now.
func (r *Conn) Shards(ctx context.Context) ([]Shard, error) {
	if r.cluster == nil {
		return []Shard{Everything}, nil
	}
	if err := r.layout.refuses(); err != nil {
		return nil, err
	}
	ranges, err := r.cluster.ClusterSlots(ctx).Result() //nolint:staticcheck // go-redis itself uses it, so it is permitted anyway
	if err != nil {
		return nil, failed(err)
	}
	return shardsOf(ranges), nil
}

func shardsOf(ranges []redis.ClusterSlot) []Shard {
	slices.SortFunc(ranges, func(a, b redis.ClusterSlot) int { return cmp.Compare(a.Start, b.Start) })
	var all []Shard
	next := 0
	for _, r := range ranges {
		if r.Start > next {
			all = append(all, Shard{next, r.Start - 1})
		}
		if r.End >= next {
			all = append(all, Shard{max(r.Start, next), r.End})
			next = r.End + 1
		}
	}
	if next < slotCount {
		all = append(all, Shard{next, slotCount - 1})
	}
	return all
}

// Slot returns the hash slot of a key: of the text in its first braces, if there is any.
func Slot[K string | []byte](key K) int {
	for i := range len(key) {
		if key[i] != '{' {
			continue
		}
		for j := i + 1; j < len(key); j++ {
			if key[j] == '}' {
				if j > i+1 {
					key = key[i+1 : j]
				}
				break
			}
		}
		break
	}
	var crc uint16 // CRC-16/XMODEM
	for i := range len(key) {
		crc = crc<<8 ^ crcs[byte(crc>>8)^key[i]]
	}
	return int(crc) % slotCount
}

// crcs has the checksum of each byte.
var crcs = func() (table [256]uint16) {
	for b := range table {
		crc := uint16(b) << 8
		for range 8 {
			crc = crc<<1 ^ crc>>15*0x1021
		}
		table[b] = crc
	}
	return table
}()
