package httpapi

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	apierr "authsvc/internal/errors"
)

var tokenParams = []param{grantType, clientID, clientSecret, refreshToken, throughData, scope}

func TestReadForm(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 5000)
	for _, tt := range []struct {
		name, body string
		want       map[param]string
		fault      string // a part of it
	}{
		{name: "empty"},
		{name: "two parameters", body: "grant_type=client_credentials&client_id=abc", want: map[param]string{grantType: "client_credentials", clientID: "abc"}},
		{name: "escapes and plus", body: "client_secret=a%2Bb%20c+d&scope=a+b", want: map[param]string{clientSecret: "a+b c d", scope: "a b"}},
		{name: "escaped name", body: "client%5Fid=abc", want: map[param]string{clientID: "abc"}},
		{name: "equals sign in a value", body: "client_id=a=b", want: map[param]string{clientID: "a=b"}},
		{name: "semicolon in a value", body: "client_id=a;scope=b", want: map[param]string{clientID: "a;scope=b"}},
		{name: "name without value", body: "client_id&scope=a", want: map[param]string{scope: "a"}},
		{name: "empty value", body: "client_id=&scope=a", want: map[param]string{scope: "a"}},
		{name: "empty pairs", body: "&&scope=a&&", want: map[param]string{scope: "a"}},
		{name: "unknown parameters", body: "a=b&scope=a&=c&" + long + "=d", want: map[param]string{scope: "a"}},
		{name: "parameter of another endpoint, twice", body: "token=a&token=b"},
		{name: "name that begins like a known one", body: "scopes=a&scop=b&token_type_hint_x=c"},
		{name: "Chinese", body: "through_data=%E6%95%B0%E6%8D%AE数据", want: map[param]string{throughData: "数据数据"}},
		{name: "long unknown value", body: "x=" + long + "&scope=a", want: map[param]string{scope: "a"}},
		{name: "one byte more than is needed is kept", body: "client_id=" + long, want: map[param]string{clientID: long[:201]}},

		{name: "repeated", body: "scope=a&scope=b", want: map[param]string{scope: "a"}, fault: "scope parameter is given more than once"},
		{name: "repeated, first empty", body: "scope=&scope=b", fault: "scope parameter is given more than once"},
		{name: "repeated under an escaped name", body: "scope=a&sc%6fpe=b", want: map[param]string{scope: "a"}, fault: "scope parameter is given more than once"},
		{name: "percent sign at the end", body: "scope=a%", want: map[param]string{scope: "a"}, fault: "percent sign"},
		{name: "percent sign and one digit", body: "scope=a%4&client_id=b", want: map[param]string{scope: "a", clientID: "b"}, fault: "percent sign"},
		{name: "percent sign in an unknown name", body: "%x=1", fault: "percent sign"},
		{name: "lone continuation byte", body: "x=%80", fault: "UTF-8"},
		{name: "unfinished sequence at the end", body: "x=%E6%95", fault: "UTF-8"},
		{name: "unfinished sequence, then ASCII", body: "x=%E6a", fault: "UTF-8"},
		{name: "sequence split over name and value", body: "%E6=%95%B0", fault: "UTF-8"},
		{name: "surrogate", body: "x=%ED%A0%80", fault: "UTF-8"},
		{name: "overlong", body: "x=%C0%80", fault: "UTF-8"},
		{name: "NUL", body: "x=a%00b", fault: "NUL"},
		{name: "a fault does not hide what follows", body: "x=%00&client_secret=s", want: map[param]string{clientSecret: "s"}, fault: "NUL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, r := range []io.Reader{strings.NewReader(tt.body), iotest.OneByteReader(strings.NewReader(tt.body)), iotest.DataErrReader(strings.NewReader(tt.body))} {
				f, err := readForm(r, tokenParams)
				if err != nil {
					t.Fatal(err)
				}
				var want [paramCount]string
				for p, v := range tt.want {
					want[p] = v
				}
				if d := cmp.Diff(want, f.values); d != "" {
					t.Errorf("values (-want +got):\n%s", d)
				}
				if (tt.fault == "") != (f.fault == "") || !strings.Contains(f.fault, tt.fault) {
					t.Errorf("fault %q, want %q", f.fault, tt.fault)
				}
			}
		})
	}
}

func TestReadFormLimits(t *testing.T) {
	t.Parallel()
	read := func(n int64) (form, error) {
		body := io.LimitReader(endless('x'), n)
		return readForm(http.MaxBytesReader(httptest.NewRecorder(), io.NopCloser(body), maxBody), tokenParams)
	}
	if _, err := read(maxBody); err != nil {
		t.Errorf("a body of 12 MiB: %v", err)
	}
	if _, err := read(maxBody + 1); !errors.Is(err, apierr.RequestEntityTooLarge) {
		t.Errorf("a body of one byte more: %v", err)
	}
	f, err := readForm(iotest.ErrReader(io.ErrUnexpectedEOF), tokenParams)
	if err != nil || !strings.Contains(f.fault, "could not be read") {
		t.Errorf("a body that breaks off: %q, %v", f.fault, err)
	}
}

type endless byte

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(e)
	}
	return len(p), nil
}

// The memory of a request does not grow with its body. This test is not
// parallel: it counts what the process allocates.
func TestReadFormMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := readForm(io.LimitReader(io.MultiReader(strings.NewReader("through_data="), endless('x')), maxBody), tokenParams); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
		t.Errorf("a body of 12 MiB allocates %d bytes", n)
	}
}

// Where the parser finds no fault it agrees with net/url; where net/url finds
// one, so does it.
func FuzzReadForm(f *testing.F) {
	for _, s := range []string{
		"grant_type=client_credentials&client_id=billing-worker&client_secret=b1lling-Secret-0001",
		"grant_type=refresh_token&refresh_token=rt_x&scope=a+b&through_data=%E6%95%B0",
		"scope=a&scope=b", "%", "a=%0", "x=%80&=&&a", "client%5Fid=abc;scope=d", "x=%00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got, err := readForm(strings.NewReader(body), tokenParams)
		if err != nil {
			t.Fatalf("%v for a short body", err)
		}
		byBytes, _ := readForm(iotest.OneByteReader(strings.NewReader(body)), tokenParams)
		if got != byBytes {
			t.Fatalf("depends on how the body arrives: %+v, %+v", got, byBytes)
		}
		// net/url refuses a semicolon; the WHATWG, and we, take it as it stands.
		want, err := url.ParseQuery(strings.ReplaceAll(body, ";", "%3B"))
		if err != nil {
			if got.fault == "" {
				t.Fatalf("no fault in a body that net/url refuses: %v", err)
			}
			return
		}
		bad := false
		for name, vs := range want {
			for _, s := range append(vs, name) {
				bad = bad || !utf8.ValidString(s) || strings.ContainsRune(s, 0)
			}
		}
		for _, p := range tokenParams {
			bad = bad || len(want[params[p].name]) > 1
		}
		if bad != (got.fault != "") {
			t.Fatalf("fault %q in %q", got.fault, body)
		}
		for _, p := range tokenParams {
			v := want.Get(params[p].name)
			if v = v[:min(len(v), params[p].keep+1)]; got.values[p] != v {
				t.Fatalf("%s is %q, want %q", params[p].name, got.values[p], v)
			}
		}
	})
}

func TestReadBasic(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, id, secret string
		wantID           string
		wantSecrets      []string
	}{
		{"plain", "billing-worker", "b1lling-Secret-0001", "billing-worker", []string{"b1lling-Secret-0001"}},
		{"encoded, as RFC 6749 has it", "billing%2Dworker", "b1lling%21Secret%23", "billing-worker", []string{"b1lling!Secret#", "b1lling%21Secret%23"}},
		{"encoded, with what only the encoded form may have", "billing-worker", "b1lling%25Secret+", "billing-worker", []string{"b1lling%25Secret+"}},
		{"as it stands, with a percent sign", "billing-worker", "b1lling%Secret", "billing-worker", []string{"b1lling%Secret"}},
		{"as it stands, and it decodes to nothing that fits", "billing-worker", "b1lling%20Secret", "billing-worker", []string{"b1lling%20Secret"}},
		{"no secret", "billing-worker", "", "billing-worker", nil},
		{"no id", "", "b1lling-Secret-0001", "", []string{"b1lling-Secret-0001"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			id, secrets := readBasic(tt.id, tt.secret)
			if id != tt.wantID || !cmp.Equal(secrets, tt.wantSecrets) {
				t.Errorf("got %q %q", id, secrets)
			}
		})
	}
}

func BenchmarkReadForm(b *testing.B) {
	body := "grant_type=client_credentials&client_id=billing-worker&client_secret=b1lling-Secret-0001&scope=orders.read+orders.write"
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := readForm(strings.NewReader(body), tokenParams); err != nil {
			b.Fatal(err)
		}
	}
}
