package token

import "time"

// Away is a time in which a part of the store could not be asked, in unix milliseconds by
// the store's clock: From is included, To is not.
type Away struct{ From, To int64 }

// Outages says when the part of the store that has a grant could not be asked: when a read
// of one of its keys was not answered, neither with a value nor with none. For then a retry
// could not be answered either. The zero value says: at no time, for certain.
type Outages struct {
	// Away is in order, without overlaps. Of one that has not ended, To is in the future.
	Away []Away
	// Since is when this process began to ask, in unix milliseconds. Of the time before,
	// only Away is known: there may have been more. In the future: nothing is known.
	Since int64
	// Until is when the last read was sent that was answered; 0 if the last one was not, or
	// for a store that need not be asked. The time after it does not count once a process
	// has stood still for longer than MaxSilence: then it answered nobody.
	Until int64
}

const (
	// maxOutage bounds how much the grace grows, whatever is known of the store.
	maxOutage = time.Hour
	// MaxSilence is longer than it takes a process that runs to ask again.
	MaxSilence = 3 * time.Second
)

// end returns when the grace of a rotation at since ends, and when it is certain that it
// has ended, in unix milliseconds; the latter is no earlier. now is the present.
//
// Time in which the store could not be asked does not count. After an outage that began
// during the grace, at least half of it is left: callers come back when they notice. The
// time before this process began to ask may have been such an outage.
func (o Outages) end(since, now int64, grace time.Duration) (end, certain int64) {
	whole := grace.Milliseconds()
	end = o.extend(since, since+whole, now, whole/2)
	certain = end
	if began := min(o.Since, now); since < began {
		end = max(end, o.extend(began, began+whole/2, now, whole/2))
		certain = max(certain, o.extend(began, began+whole, now, whole/2))
	}
	limit := since + max(grace, maxOutage).Milliseconds()
	return min(end, limit), min(certain, limit)
}

// extend returns the end of a grace that has run since from and would end at end without
// the outages since then.
func (o Outages) extend(from, end, now, half int64) int64 {
	grow := func(a Away) {
		a.From, a.To = max(a.From, from), min(a.To, now)
		if a.From < a.To && a.From < end {
			end = max(end+a.To-a.From, a.To+half)
			from = a.To
		}
	}
	for _, a := range o.Away {
		grow(a)
	}
	if o.Until != 0 && now-o.Until > MaxSilence.Milliseconds() {
		grow(Away{o.Until, now})
	}
	return end
}

// inGrace reports whether a repeat of the rotation at since, in unix milliseconds, is still
// answered.
func (c *refreshCase) inGrace(since int64) bool {
	now := c.now.UnixMilli()
	end, _ := c.outages.end(since, now, c.grace)
	return now < end
}

// mayBeInGrace is like inGrace, but also reports true if the store may have been away before
// this process began to ask. Then nothing is concluded from a token that is too old.
func (c *refreshCase) mayBeInGrace(since int64) bool {
	now := c.now.UnixMilli()
	_, certain := c.outages.end(since, now, c.grace)
	return now < certain
}

// repeatKind returns the kind of event that a repeat of the current rotation is.
func (c *refreshCase) repeatKind() EventKind {
	if c.now.UnixMilli() >= c.grant.Rotated+c.grace.Milliseconds() {
		return EventRefreshExcused
	}
	return EventRefreshRepeated
}
