package redisconn

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"authsvc/internal/redistest"
)

func refusalsOf(err error) ([]Refusal, bool) {
	refused := (*PermissionError)(nil)
	if !errors.As(err, &refused) {
		return nil, false
	}
	return refused.Nodes, true
}

// Each permission that is missing is found by itself, and what Grant returns fixes it.
func TestCheckPermissions(t *testing.T) {
	server := redistest.Start(t)
	for _, tt := range []struct {
		name  string
		rules []string
		want  Refusal
		grant string
	}{
		{"get", []string{"-get"}, Refusal{Commands: []string{"get"}}, "+get"},
		{"set", []string{"-set"}, Refusal{Commands: []string{"set"}}, "+set"},
		{"del", []string{"-del"}, Refusal{Commands: []string{"del"}}, "+del"},
		{"eval", []string{"-eval"}, Refusal{Commands: []string{"eval"}}, "+eval"},
		{"evalsha", []string{"-evalsha"}, Refusal{Commands: []string{"evalsha"}}, "+evalsha"},
		{"time", []string{"-time"}, Refusal{Commands: []string{"time"}}, "+time"},
		{"role", []string{"-role"}, Refusal{Commands: []string{"role"}}, "+role"},
		{"what a connection begins with", []string{"-client|setname"}, Refusal{Commands: []string{"client|setname"}}, "+client|setname"},
		{"the database", []string{"-select"}, Refusal{Commands: []string{"select"}}, "+select"},
		{"keys", []string{"resetkeys", "~other:*"}, Refusal{Keys: "authsvc:*"}, "~authsvc:*"},
		{"writing keys", []string{"resetkeys", "%R~authsvc:*"}, Refusal{Keys: "authsvc:*"}, "~authsvc:*"},
		{"reading keys", []string{"resetkeys", "%W~authsvc:*"}, Refusal{Keys: "authsvc:*"}, "~authsvc:*"},
		{
			"all that a request needs",
			[]string{"-get", "-set", "-del", "-time", "-eval", "-evalsha"},
			Refusal{Commands: []string{"time", "set", "get", "eval", "evalsha", "del"}},
			"+time +set +get +eval +evalsha +del",
		},
		{
			"a command and the keys",
			[]string{"-evalsha", "resetkeys"},
			Refusal{Commands: []string{"evalsha"}, Keys: "authsvc:*"},
			"+evalsha ~authsvc:*",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Addr, tt.want.User = server.Addr(), "app"
			tt.grant = "ACL SETUSER app " + tt.grant
			r := rights(t, server, tt.rules...)
			err := r.CheckPermissions(t.Context(), needs)
			refused, _ := refusalsOf(err)
			if diff := cmp.Diff([]Refusal{tt.want}, refused); diff != "" || err == nil {
				t.Fatalf("%v: %s", err, diff)
			}
			if refused[0].Grant() != tt.grant || !strings.Contains(err.Error(), tt.grant) || !strings.Contains(err.Error(), server.Addr()) {
				t.Errorf("%q: %v", refused[0].Grant(), err)
			}
			var grant []any
			for _, word := range strings.Fields(tt.grant) {
				grant = append(grant, word)
			}
			do(t, server, grant...)
			if err := r.CheckPermissions(t.Context(), needs); err != nil {
				t.Errorf("with what it granted: %v", err)
			}
		})
	}
	for _, record := range server.Dump() {
		if ttl := server.Client().Do(t.Context(), "PTTL", record.Key).Val(); ttl == int64(-1) {
			t.Errorf("%s stays for ever", record.Key)
		}
	}
}

// With all rights nothing is refused, and nothing is left behind.
func TestCheckPermissionsLeavesNothingBehind(t *testing.T) {
	server := redistest.Start(t)
	if err := rights(t, server, "-config|get", "-scan", "-pttl").CheckPermissions(t.Context(), needs); err != nil {
		t.Error(err)
	}
	if n := len(server.Dump()); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

func TestCheckPermissionsFindsCommandsThatAreNotThere(t *testing.T) {
	server := redistest.Start(t, "--rename-command", "EVAL", "", "--rename-command", "DEL", "other")
	err := openPatient(t, server.URL()).CheckPermissions(t.Context(), needs)
	refused, _ := refusalsOf(err)
	want := []Refusal{{Addr: server.Addr(), User: "default", Missing: []string{"eval", "del"}}}
	if diff := cmp.Diff(want, refused); diff != "" || refused[0].Grant() != "" || !strings.Contains(fmt.Sprint(err), "eval, del") {
		t.Errorf("%v: %s", err, diff)
	}
}

// A server may take scripts, and none that names flags, as Redis before 7.0.
func TestCheckPermissionsFindsThatTheScriptDoesNotCompile(t *testing.T) {
	server := redistest.Start(t)
	err := openPatient(t, server.URL()).CheckPermissions(t.Context(), func(key string) [][]any {
		return NewScript("no Lua").Commands(key)
	})
	refused, _ := refusalsOf(err)
	want := []Refusal{{Addr: server.Addr(), User: "default", Missing: []string{"eval for a script with flags"}}}
	if diff := cmp.Diff(want, refused); diff != "" {
		t.Errorf("%v: %s", err, diff)
	}
}

// What else is wrong with a Redis is no missing permission, and hides none: a full
// one, and a node of a Cluster that does not have the slot.
func TestCheckPermissionsOfARedisThatDoesNotTakeWrites(t *testing.T) {
	for name, server := range map[string]*redistest.Server{
		"full":    redistest.Start(t, "--maxmemory", "1"),
		"cluster": redistest.Start(t, "--cluster-enabled", "yes", "--databases", "1"),
	} {
		if err := openPatient(t, server.URL()).CheckPermissions(t.Context(), needs); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		do(t, server, "ACL", "SETUSER", "app", "on", ">pw", "~authsvc:*", "+@all", "-set", "-evalsha")
		err := openPatient(t, "redis://app:pw@"+server.Addr()).CheckPermissions(t.Context(), needs)
		want := []Refusal{{Addr: server.Addr(), User: "app", Commands: []string{"set", "evalsha"}}}
		refused, _ := refusalsOf(err)
		if diff := cmp.Diff(want, refused); diff != "" {
			t.Errorf("%s: %v: %s", name, err, diff)
		}
		if f := factsOf(t, openPatient(t, server.URL())); f.Cluster != (name == "cluster") {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// The words of other versions than the one that the tests run.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		answer  string
		kind    refusalKind
		command string
	}{
		{"NOPERM this user has no permissions to run the 'eval' command", commandRefused, "eval"},
		{"NOPERM this user has no permissions to run the 'eval' command or its subcommand", commandRefused, "eval"},
		{"NOPERM User o'app has no permissions to run the 'client|setname' command", commandRefused, "client|setname"},
		{"NOPERM this user has no permissions to access one of the keys used as arguments", keysRefused, ""},
		{"NOPERM No permissions to access a key", keysRefused, ""},
		{"NOPERM not for you", commandRefused, ""},
		{"ERR unknown command 'EVAL', with args beginning with: ", commandMissing, "eval"},
		{"ERR unknown command `EVAL`, with args beginning with: ", commandMissing, "eval"},
		{"ERR DB index is out of range", notRefused, ""},
		{"OOM command not allowed when used memory > 'maxmemory'.", notRefused, ""},
		{"WRONGPASS invalid username-password pair or user is disabled.", notRefused, ""},
	} {
		for _, err := range []error{answer(tt.answer), fmt.Errorf("setting up: %w", answer(tt.answer))} {
			if kind, command := refusalOf(err); kind != tt.kind || command != tt.command {
				t.Errorf("%v: %d %q", err, kind, command)
			}
		}
	}
	if kind, _ := refusalOf(errors.New("NOPERM of somebody else")); kind != notRefused {
		t.Error("an error that is no answer of Redis counts as one")
	}
}
