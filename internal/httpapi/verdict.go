package httpapi

import (
	"errors"

	"authsvc/internal/answer"
	apierr "authsvc/internal/errors"
	"authsvc/internal/token"
)

// active is the verdict on a valid token.
const active = "active"

// found reports the verdict on an access token to the log and the telemetry. If err is
// an error that leaves the verdict open, none is reported.
func (s *server) found(x *answer.Exchange, endpoint string, i token.Inspection, err error) {
	v := verdict(err, active)
	if i.Reason != nil {
		v = i.Reason.Row.Code()
	}
	noteToken(x, i.Presented, v)
	if v != "" {
		s.cfg.Telemetry.Verdict(endpoint, v)
	}
}

// noteToken adds what is known about a presented token to the log line. An empty verdict
// means that there is none.
func noteToken(x *answer.Exchange, p token.Presented, verdict string) {
	x.Note("verdict", verdict)
	x.Note("jti", p.JTI)
	if p.JTI != "" {
		x.SetProved()
	}
	x.Note("token_app", p.AppKey)
}

// verdict returns the verdict that an error of the Manager implies: good if it is nil,
// the code of the row that refuses the token, or "" if there is no verdict.
func verdict(err error, good string) string {
	if err == nil {
		return good
	}
	if e := (*apierr.Error)(nil); errors.As(err, &e) && e.Row.Status() < 500 {
		return e.Row.Code()
	}
	return ""
}
