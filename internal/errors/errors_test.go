package errors_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	apierr "authsvc/internal/errors"
)

const golden = "testdata/apig-error-codes.golden.tsv"

// The languages that every row is written in.
var langs = []struct {
	name string
	lang apierr.Lang
}{
	{"en", apierr.English},
	{"zh", apierr.Chinese},
}

func label(r apierr.Row) string { return fmt.Sprintf("%s %d %s", r.Code(), r.Status(), r.Message()) }

// Clients of the gateway match on code, status and message, so the table is a contract:
// the golden file is the gateway's own table, and is never regenerated from the code.
func TestRowsAreTheTable(t *testing.T) {
	raw, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	got.WriteString("code\thttp_status\tmessage\n")
	rows, codes := 0, map[string]bool{}
	for r := range apierr.All() {
		rows++
		codes[r.Code()] = true
		got.WriteString(r.Code() + "\t" + strconv.Itoa(r.Status()) + "\t" + r.Message() + "\n")
	}
	if diff := cmp.Diff(strings.Split(string(raw), "\n"), strings.Split(got.String(), "\n")); diff != "" {
		t.Errorf("the rows are not %s (-golden +rows):\n%s", golden, diff)
	}
	if rows != 71 || len(codes) != 64 {
		t.Errorf("%d rows of %d codes, want 71 rows of 64 codes", rows, len(codes))
	}
}

// The golden table pins the order of the rows, but not which constant names which row.
// A constant that names the wrong row leads to a wrong answer, so the rows that this
// server answers with are pinned here, with what an OAuth client reads.
func TestConstantsNameTheirRows(t *testing.T) {
	tests := []struct {
		row     apierr.Row
		code    string
		status  int
		oauth   string
		message string
	}{
		{apierr.APINotFound, "APIG.0101", 404, "invalid_request", "The API does not exist or has not been published in the environment."},
		{apierr.APIMethodNotFound, "APIG.0101", 404, "invalid_request", "The API does not exist."},
		{apierr.RequestEntityTooLarge, "APIG.0201", 413, "invalid_request", "Request entity too large."},
		{apierr.RequestURITooLarge, "APIG.0201", 414, "invalid_request", "Request URI too large."},
		{apierr.RequestHeadersTooLarge, "APIG.0201", 494, "invalid_request", "Request headers too large."},
		{apierr.AppNotAuthorized, "APIG.0304", 403, "unauthorized_client", "The app is not authorized to access the API."},
		{apierr.AuthIncorrect, "APIG.0305", 401, "invalid_token", "Incorrect authentication information."},
		{apierr.Throttled, "APIG.0308", 429, "temporarily_unavailable", "The throttling threshold has been reached."},
		{apierr.IPNotTrusted, "APIG.0405", 403, "unauthorized_client", "The app is not accessed from a trusted IP address."},
		{apierr.QuotaUsedUp, "APIG.0501", 405, "unauthorized_client", "The app quota has been used up."},
		{apierr.AppFrozen, "APIG.0502", 405, "unauthorized_client", "The app has been frozen."},
		{apierr.Internal, "APIG.0601", 500, "server_error", "Internal server error."},
		{apierr.Unavailable, "APIG.0613", 503, "temporarily_unavailable", "The IAM service is currently unavailable."},
		{apierr.KeyOrSecretMalformed, "APIG.2201", 400, "invalid_client", "Appkey or SecretKey is invalid"},
		{apierr.RefreshTokenInvalid, "APIG.2202", 400, "invalid_grant", "Refresh token is invalid"},
		{apierr.AccessTokenInvalid, "APIG.2203", 400, "invalid_token", "Access token is invalid"},
		{apierr.ContentTypeInvalid, "APIG.2204", 400, "invalid_request", "ContentType invalid"},
		{apierr.AuthParameterInvalid, "APIG.2205", 400, "invalid_request", "Auth parameter invalid"},
		{apierr.AuthMethodInvalid, "APIG.2206", 400, "invalid_request", "Auth method invalid"},
		{apierr.ThroughDataTooLong, "APIG.2208", 400, "invalid_request", "The length of through_data is out of range"},
		{apierr.GrantTypeUnsupported, "APIG.2209", 400, "unsupported_grant_type", "The value of grant_type is not in enum List"},
		{apierr.GrantTypeMissing, "APIG.2210", 400, "invalid_request", "Lack of grant_type"},
		{apierr.ClientIDMissing, "APIG.2211", 400, "invalid_client", "Lack of client_id"},
		{apierr.ClientSecretMissing, "APIG.2212", 400, "invalid_client", "Lack of client_secret"},
		{apierr.RefreshTokenMissing, "APIG.2213", 400, "invalid_request", "Lack of refresh_token"},
		{apierr.RefreshTokenExpired, "APIG.1001", 401, "invalid_grant", "Refresh token is expired"},
		{apierr.AccessTokenExpired, "APIG.1002", 401, "invalid_token", "Access token is expired"},
		{apierr.AppMismatch, "APIG.1003", 401, "invalid_grant", "App not match refresh token"},
		{apierr.AppNotExist, "APIG.1004", 401, "invalid_token", "App not exist"},
		{apierr.CredentialsInvalid, "APIG.1009", 400, "invalid_client", "AppKey or AppSecret is invalid"},
	}
	for _, tt := range tests {
		got := []any{tt.row.Code(), tt.row.Status(), tt.row.OAuthName(), tt.row.Message()}
		want := []any{tt.code, tt.status, tt.oauth, tt.message}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s %d (-want +got):\n%s", tt.code, tt.status, diff)
		}
	}
}

func TestOAuthNames(t *testing.T) {
	allowed := []string{
		// RFC 6749 section 5.2.
		"invalid_request", "invalid_client", "invalid_grant",
		"unauthorized_client", "unsupported_grant_type", "invalid_scope",
		// RFC 6749 section 4.1.2.1, for what section 5.2 has no name for.
		"server_error", "temporarily_unavailable",
		// RFC 6750 section 3.1.
		"invalid_token", "insufficient_scope",
	}
	for r := range apierr.All() {
		name := r.OAuthName()
		if !slices.Contains(allowed, name) {
			t.Errorf("%s: OAuth name %q is in no RFC", label(r), name)
		}
		// OAuth clients look at the name, not at the status: a name that tells them to
		// fix the request must not stand for a fault of the server.
		ours := name == "server_error" || name == "temporarily_unavailable"
		if failed := r.Status() >= 500 || r.Status() == 429; ours != failed {
			t.Errorf("%s: OAuth name %q does not match the status", label(r), name)
		}
	}
}

func TestEveryRowExplainsItself(t *testing.T) {
	// English stays within the characters of error_description (RFC 6749
	// section 5.2), so that it can be shown wherever a hint can.
	description := regexp.MustCompile(`^[\x20\x21\x23-\x5B\x5D-\x7E]+$`)
	han := func(s string) bool {
		return strings.ContainsFunc(s, func(c rune) bool { return unicode.Is(unicode.Han, c) })
	}
	for _, l := range langs {
		causes := map[string]apierr.Row{}
		for r := range apierr.All() {
			cause, fix := r.Cause(l.lang), r.Fix(l.lang)
			for _, field := range []struct{ name, text string }{{"cause", cause}, {"fix", fix}} {
				name, text := field.name, field.text
				if strings.TrimSpace(text) == "" {
					t.Errorf("%s: no %s in %s", label(r), name, l.name)
					continue
				}
				if text != strings.TrimSpace(text) || strings.ContainsFunc(text, unicode.IsControl) {
					t.Errorf("%s: %s in %s has stray space or control characters: %q", label(r), name, l.name, text)
				}
				switch l.lang {
				case apierr.English:
					if !description.MatchString(text) {
						t.Errorf("%s: English %s leaves the charset of error_description: %q", label(r), name, text)
					}
					if !strings.HasSuffix(text, ".") {
						t.Errorf("%s: English %s is not a sentence: %q", label(r), name, text)
					}
				case apierr.Chinese:
					if !han(text) {
						t.Errorf("%s: Chinese %s is not in Chinese: %q", label(r), name, text)
					}
					if !strings.HasSuffix(text, "。") {
						t.Errorf("%s: Chinese %s is not a sentence: %q", label(r), name, text)
					}
				}
			}
			if cause == fix {
				t.Errorf("%s: cause and fix in %s are the same: %q", label(r), l.name, cause)
			}
			if twin, ok := causes[cause]; ok {
				t.Errorf("%s and %s have the same cause in %s: %q", label(twin), label(r), l.name, cause)
			}
			causes[cause] = r
		}
	}
}

// A row that this server answers with names the parameter and the limit, in both
// languages: someone with a failing request looks for these.
func TestOwnRowsNameParametersAndLimits(t *testing.T) {
	tests := []struct {
		row  apierr.Row
		want []string
	}{
		{apierr.APINotFound, []string{"/oauth/token", "/v1/apigw/oauth2/token"}},
		{apierr.APIMethodNotFound, []string{"POST", "Allow"}},
		{apierr.RequestEntityTooLarge, []string{"12 MiB", "Content-Length"}},
		{apierr.RequestURITooLarge, []string{"32 KiB"}},
		{apierr.RequestHeadersTooLarge, []string{"32 KiB", "128 KiB"}},
		{apierr.AppNotAuthorized, []string{"introspect", "scope"}},
		{apierr.AuthIncorrect, []string{"Authorization", "Bearer", "/oauth/verify"}},
		{apierr.Throttled, []string{"Retry-After", "client_id"}},
		{apierr.IPNotTrusted, []string{"trusted_ips"}},
		{apierr.QuotaUsedUp, []string{"405"}},
		{apierr.AppFrozen, []string{"state: frozen", "405"}},
		{apierr.Internal, []string{"request_id"}},
		{apierr.Unavailable, []string{"IAM service", "Redis", "300 ms", "--store-timeout", "Retry-After"}},
		{apierr.KeyOrSecretMalformed, []string{"client_id", "client_secret", "200", "128", "[A-Za-z0-9_-]", "!@#$%"}},
		{apierr.RefreshTokenInvalid, []string{"rt_", "60", "client_credentials"}},
		{apierr.AccessTokenInvalid, []string{"at_", "79", "scope", "through_data"}},
		{apierr.ContentTypeInvalid, []string{"application/x-www-form-urlencoded", "UTF-8"}},
		{apierr.AuthParameterInvalid, []string{"Basic", "UTF-8", "NUL", "scope", "token", "error_description"}},
		{apierr.AuthMethodInvalid, []string{"Basic", "client_secret"}},
		{apierr.ThroughDataTooLong, []string{"through_data", "300"}},
		{apierr.GrantTypeUnsupported, []string{"client_credentials", "refresh_token"}},
		{apierr.GrantTypeMissing, []string{"grant_type"}},
		{apierr.ClientIDMissing, []string{"client_id", "Basic"}},
		{apierr.ClientSecretMissing, []string{"client_secret", "Basic"}},
		{apierr.RefreshTokenMissing, []string{"refresh_token"}},
		{apierr.RefreshTokenExpired, []string{"7200", "72000", "grant_type=client_credentials"}},
		{apierr.AccessTokenExpired, []string{"3600", "grant_type=refresh_token"}},
		{apierr.AppMismatch, []string{"client_id"}},
		{apierr.AppNotExist, []string{"client_credentials"}},
		{apierr.CredentialsInvalid, []string{"client_id", "client_secret"}},
	}
	for _, tt := range tests {
		for _, l := range langs {
			text := tt.row.Cause(l.lang) + " " + tt.row.Fix(l.lang)
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("%s: cause and fix in %s do not name %q: %s", label(tt.row), l.name, want, text)
				}
			}
		}
	}
}

func TestByCode(t *testing.T) {
	tests := []struct {
		code string
		want []apierr.Row
	}{
		{"APIG.0201", []apierr.Row{
			apierr.APIRequestError, apierr.RequestEntityTooLarge, apierr.RequestURITooLarge, apierr.RequestHeadersTooLarge,
			apierr.RequestBackendUnavailable, apierr.RequestBackendTimeout, apierr.RequestUnexpectedError,
		}},
		{"0101", []apierr.Row{apierr.APINotFound, apierr.APIMethodNotFound}},
		{"APIG.2208", []apierr.Row{apierr.ThroughDataTooLong}},
		{"2208", []apierr.Row{apierr.ThroughDataTooLong}},
		{"apig.2208", []apierr.Row{apierr.ThroughDataTooLong}},
		{"nope", nil},
		{"", nil},
		{"APIG.", nil},
		{"220", nil},
		{"APIG.APIG.2208", nil},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, apierr.ByCode(tt.code)); diff != "" {
			t.Errorf("ByCode(%q) (-want +got):\n%s", tt.code, diff)
		}
	}
}

// Callers may do what they like with the slice that they get.
func TestByCodeSharesNothing(t *testing.T) {
	mine := apierr.ByCode("0101")
	mine[0] = apierr.AppFrozen
	if got := apierr.ByCode("0101")[0]; got != apierr.APINotFound {
		t.Errorf("a changed result changed the catalogue: %s", label(got))
	}
}

func TestAllStopsWhenAsked(t *testing.T) {
	var got []apierr.Row
	for r := range apierr.All() {
		if got = append(got, r); len(got) == 2 {
			break
		}
	}
	if diff := cmp.Diff([]apierr.Row{apierr.APINotFound, apierr.APIMethodNotFound}, got); diff != "" {
		t.Errorf("the first two rows (-want +got):\n%s", diff)
	}
}

// A value that no constant names must neither panic nor look like some other failure to
// a caller: it reads as an unforeseen one.
func TestNoRowReadsAsInternal(t *testing.T) {
	read := func(r apierr.Row) []any {
		return []any{
			r.Code(), r.Status(), r.Message(), r.OAuthName(), r.Error(),
			r.Cause(apierr.English), r.Cause(apierr.Chinese), r.Fix(apierr.English), r.Fix(apierr.Chinese),
		}
	}
	want := read(apierr.Internal)
	if want[0] != "APIG.0601" {
		t.Fatalf("Internal is %v", want[0])
	}
	for _, r := range []apierr.Row{0, apierr.CredentialsInvalid + 1, 200, 255} {
		if diff := cmp.Diff(want, read(r)); diff != "" {
			t.Errorf("Row(%d) does not read as APIG.0601 (-want +got):\n%s", r, diff)
		}
	}
	if got := (&apierr.Error{}).Error(); got != "APIG.0601 Internal server error." {
		t.Errorf("the zero Error is %q", got)
	}
}

func TestErrorText(t *testing.T) {
	const row, hint, cause = "APIG.2208 The length of through_data is out of range", "through_data has 301 characters", "reader: limit"
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"a bare row", apierr.ThroughDataTooLong, row},
		{"no hint, no cause", apierr.New(apierr.ThroughDataTooLong, ""), row},
		{"a hint", apierr.New(apierr.ThroughDataTooLong, hint), row + ": " + hint},
		{"a cause", apierr.Wrap(apierr.ThroughDataTooLong, "", errors.New(cause)), row + ": " + cause},
		{"both", apierr.Wrap(apierr.ThroughDataTooLong, hint, errors.New(cause)), row + ": " + hint + ": " + cause},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// storeError stands for the error of a dependency: a type that errors.As looks for.
type storeError struct{ op string }

func (e *storeError) Error() string { return e.op + " failed" }

// faults is an error that == cannot compare.
type faults []string

func (f faults) Error() string { return strings.Join(f, "; ") }

func TestIs(t *testing.T) {
	var (
		frozen = apierr.New(apierr.AppFrozen, "ask ops")
		down   = apierr.Wrap(apierr.Unavailable, "", fmt.Errorf("get: %w", context.DeadlineExceeded))
		nested = apierr.Wrap(apierr.Internal, "", frozen)
	)
	tests := []struct {
		name   string
		err    error
		target error
		want   bool
	}{
		{"its row", frozen, apierr.AppFrozen, true},
		{"another row", frozen, apierr.QuotaUsedUp, false},
		{"its row, wrapped", fmt.Errorf("token: %w", frozen), apierr.AppFrozen, true},
		{"its row, wrapped twice", fmt.Errorf("http: %w", fmt.Errorf("token: %w", frozen)), apierr.AppFrozen, true},
		{"its row, joined", errors.Join(errors.New("other"), frozen), apierr.AppFrozen, true},
		{"its row, flattened into text", errors.New("token: " + frozen.Error()), apierr.AppFrozen, false},
		{"a bare row, wrapped", fmt.Errorf("token: %w", apierr.AppFrozen), apierr.AppFrozen, true},
		{"itself", fmt.Errorf("token: %w", frozen), frozen, true},
		{"another value of the same row", frozen, apierr.New(apierr.AppFrozen, "ask ops"), false},
		{"the row beside a cause", down, apierr.Unavailable, true},
		{"the cause", down, context.DeadlineExceeded, true},
		{"the cause, wrapped", fmt.Errorf("token: %w", down), context.DeadlineExceeded, true},
		{"no cause", frozen, context.DeadlineExceeded, false},
		{"the outer row of two", nested, apierr.Internal, true},
		{"the inner row of two", nested, apierr.AppFrozen, true},
		{"the row beside a cause that cannot be compared", apierr.Wrap(apierr.Internal, "", faults{"a"}), apierr.Internal, true},
		{"a cause that cannot be compared", apierr.Wrap(apierr.Internal, "", faults{"a"}), faults{"a"}, false},

		// The row is the unit, not the code.
		{"APIG.0101, unknown path", apierr.New(apierr.APINotFound, ""), apierr.APINotFound, true},
		{"APIG.0101, unknown path as method", apierr.New(apierr.APINotFound, ""), apierr.APIMethodNotFound, false},
		{"APIG.0101, method", apierr.New(apierr.APIMethodNotFound, ""), apierr.APIMethodNotFound, true},
		{"APIG.0101, method as unknown path", apierr.New(apierr.APIMethodNotFound, ""), apierr.APINotFound, false},
	}
	for _, tt := range tests {
		if got := errors.Is(tt.err, tt.target); got != tt.want {
			t.Errorf("%s: errors.Is(%v, %v) = %t", tt.name, tt.err, tt.target, got)
		}
	}
}

func TestEveryRowIsOnlyItself(t *testing.T) {
	for r := range apierr.All() {
		err := fmt.Errorf("wrapped: %w", apierr.New(r, ""))
		for target := range apierr.All() {
			if got, want := errors.Is(err, target), r == target; got != want {
				t.Errorf("errors.Is(%s, %s) = %t", label(r), label(target), got)
			}
		}
	}
}

func TestAs(t *testing.T) {
	cause := &storeError{op: "swap"}
	first := apierr.Wrap(apierr.Unavailable, "retry", cause)
	first.RetryAfter = 3 * time.Second
	wrapped := fmt.Errorf("http: %w", fmt.Errorf("token: %w", first))

	var e *apierr.Error
	if !errors.As(wrapped, &e) || e != first {
		t.Errorf("errors.As found %v, want the *Error that was wrapped", e)
	}
	var row apierr.Row
	if !errors.As(wrapped, &row) || row != apierr.Unavailable {
		t.Errorf("errors.As found row %s, want %s", label(row), label(apierr.Unavailable))
	}
	var se *storeError
	if !errors.As(wrapped, &se) || se != cause {
		t.Errorf("errors.As found cause %v, want %v", se, cause)
	}

	// The edge answers with the outermost failure: what it wraps is for the log.
	outer := apierr.Wrap(apierr.Internal, "", wrapped)
	if !errors.As(fmt.Errorf("edge: %w", outer), &e) || e != outer {
		t.Errorf("errors.As found %v, want the outermost *Error", e)
	}

	if e = nil; errors.As(errors.New("foreign"), &e) {
		t.Errorf("errors.As made an *Error of a foreign error: %v", e)
	}
	if e = nil; errors.As(fmt.Errorf("token: %w", apierr.AppFrozen), &e) {
		t.Errorf("errors.As made an *Error of a bare row: %v", e)
	}
	if se = nil; errors.As(apierr.New(apierr.Unavailable, "retry"), &se) {
		t.Errorf("errors.As found a cause where there is none: %v", se)
	}
}

func TestUnwrap(t *testing.T) {
	cause := &storeError{op: "get"}
	for _, tt := range []struct {
		name string
		err  *apierr.Error
		want []error
	}{
		{"no cause", apierr.New(apierr.AppFrozen, "hint"), []error{apierr.AppFrozen}},
		{"a cause", apierr.Wrap(apierr.Unavailable, "hint", cause), []error{apierr.Unavailable, cause}},
	} {
		if got := tt.err.Unwrap(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestNewAndWrap(t *testing.T) {
	cause := &storeError{op: "get"}
	got := []apierr.Error{*apierr.New(apierr.AppFrozen, "hint"), *apierr.Wrap(apierr.Unavailable, "hint", cause)}
	want := []apierr.Error{
		{Row: apierr.AppFrozen, Hint: "hint"},
		{Row: apierr.Unavailable, Hint: "hint", Cause: cause},
	}
	samePointer := cmp.Comparer(func(a, b *storeError) bool { return a == b })
	if diff := cmp.Diff(want, got, samePointer); diff != "" {
		t.Errorf("New and Wrap (-want +got):\n%s", diff)
	}
}

// APIG.2205 stands for several OAuth errors: an override names the one that is meant,
// and does not change the row.
func TestOAuthOverride(t *testing.T) {
	err := apierr.New(apierr.AuthParameterInvalid, "scope is wider than the grant's")
	if got := err.OAuthName(); got != "invalid_request" {
		t.Errorf("without an override: %q, want the row's invalid_request", got)
	}
	err.OAuth = "invalid_scope"
	if got := err.OAuthName(); got != "invalid_scope" {
		t.Errorf("with an override: %q, want invalid_scope", got)
	}
	if got := err.Row.OAuthName(); got != "invalid_request" {
		t.Errorf("the override changed the row: %q", got)
	}
	if !errors.Is(err, apierr.AuthParameterInvalid) {
		t.Error("with an override, errors.Is no longer finds the row")
	}
}

// Whatever the hint holds, the description is in the characters of RFC 6749 section 5.2.
func TestDescription(t *testing.T) {
	t.Parallel()
	for hint, want := range map[string]string{
		"":                                "",
		"Send client_id, not clientId.":   "Send client_id, not clientId.",
		"Say \"please\" \\ 请.\x00\t\x7f~": "Say 'please' ? ?.???~",
	} {
		if got := apierr.New(apierr.Internal, hint).Description(); got != want {
			t.Errorf("%q is described as %q, want %q", hint, got, want)
		}
	}
}
