package httpapi

import (
	"errors"

	"authsvc/internal/answer"
	apierr "authsvc/internal/errors"
	"authsvc/internal/token"
)

// active is the verdict on a good token.
const active = "active"

// found reports what an access token was found to be, in the log line and to the
// telemetry. err is why that is not known; it is not reported then.
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

// noteToken puts into the log line what is known of a token that was presented. An
// empty verdict is none.
func noteToken(x *answer.Exchange, p token.Presented, verdict string) {
	x.Note("verdict", verdict)
	x.Note("jti", p.JTI)
	x.Note("token_app", p.AppKey)
}

// verdict returns what an error of the Manager says of a token: good for none, the
// code of the row that refuses it, or "" where what it is can't be told.
func verdict(err error, good string) string {
	if err == nil {
		return good
	}
	if e := (*apierr.Error)(nil); errors.As(err, &e) && e.Row.Status() < 500 {
		return e.Row.Code()
	}
	return ""
}
