package cli

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"authsvc/internal/keyring"
	"authsvc/internal/token"
)

// decoded is what a token says about itself. It leaves out the grant's id: with that and
// a signing key anybody can forge a token.
type decoded struct {
	Kind      string    `json:"kind"` // access or refresh
	KeyID     byte      `json:"key_id"`
	IssuedAt  time.Time `json:"issued_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Expired   bool      `json:"expired"` // by the clock of this machine
	Lifetime  int64     `json:"lifetime"`
	AppTag    string    `json:"app_tag"`
	Serial    uint32    `json:"serial"`
	JTI       string    `json:"jti"`
	// Signature is good or bad; empty if no keyring was given.
	Signature string `json:"signature"`
	// AppFits is null if no AppKey was given.
	AppFits *bool `json:"app_fits"`
}

func tokenDecode() *cobra.Command {
	var keys, appKey string
	c := &cobra.Command{
		Use:   "decode [TOKEN]",
		Short: "Show what a token says about itself",
		Long: `Reads a token from its argument, or better from the first line of standard input
(others can see arguments, and shells keep them), and prints what it says about
itself. It needs no server, so it can't show whether the token was revoked.

Without --keys nothing is proven: anyone can write such a token. --keys checks the
signature, and --key whether the token can belong to an app. The exit status is 1
if a check fails.`,
		Example: `  authsvc token decode < token.txt
  authsvc token decode --keys keys.json --key billing-worker < token.txt`,
		Args: cobra.MaximumNArgs(1),
	}
	c.Flags().StringVar(&keys, "keys", "", "keyring `FILE` to check the signature with")
	c.Flags().StringVar(&appKey, "key", "", "AppKey `KEY` of the app that it should belong to")
	out := outputFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		text, err := tokenText(c, args)
		if err != nil {
			return err
		}
		claims, err := token.Decode(text)
		if err != nil {
			return errors.New("this is not a token of authsvc: those begin with at_ or rt_, followed by 76 of the characters A-Z a-z 0-9 - _. Check that all of it was copied")
		}
		d := decoded{
			Kind: "access", KeyID: claims.KeyID,
			IssuedAt: time.UnixMilli(claims.IssuedAt).UTC(), ExpiresAt: time.Unix(claims.ExpiresAt, 0).UTC(),
			Expired: claims.Expired(time.Now()), Lifetime: claims.Lifetime(),
			AppTag: hex.EncodeToString(claims.AppTag[:]), Serial: claims.Serial, JTI: claims.JTI(),
		}
		if claims.Kind == token.Refresh {
			d.Kind = "refresh"
		}
		said := "not checked; give --keys FILE"
		var failed []error
		if keys != "" {
			ring, err := keyring.Read(keys)
			if err != nil {
				return err
			}
			d.Signature, said = "good", "good"
			if err := token.Verify(text, ring); err != nil {
				d.Signature, said = "bad", "bad: "+why(ring, claims, err)
				failed = append(failed, errors.New("the signature is bad: "+why(ring, claims, err)))
			}
		}
		if appKey != "" {
			fits := claims.AppTag == token.TagOf(appKey)
			d.AppFits = &fits
			if !fits {
				failed = append(failed, fmt.Errorf("the token does not belong to the app %s", appKey))
			}
		}
		if err := out.print(c, d, func(w io.Writer) { d.write(w, said, appKey, time.Now()) }); err != nil {
			return err
		}
		return errors.Join(failed...)
	}
	return c
}

// tokenText returns the token that the command was given, without the scheme that it
// may have been copied with from a header.
func tokenText(c *cobra.Command, args []string) (string, error) {
	if len(args) == 1 {
		return withoutScheme(args[0]), nil
	}
	prompt(c, "the token")
	line, err := firstLine(c.InOrStdin())
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	if line = withoutScheme(line); line == "" {
		return "", errors.New("there is no token on standard input")
	}
	return line, nil
}

// why returns why a signature is bad.
func why(ring *keyring.Keyring, c token.Claims, err error) string {
	if at, dropped := ring.DroppedAt(c.KeyID); dropped {
		return fmt.Sprintf("key %d was dropped at %s, and its tokens with it", c.KeyID, at.Format(time.RFC3339))
	}
	if ring.Key(c.KeyID) == nil {
		return fmt.Sprintf("there is no key %d in the keyring; it was pruned, or the token is from another service", c.KeyID)
	}
	return err.Error()
}

// rfc3339Milli is RFC 3339 to the millisecond.
const rfc3339Milli = "2006-01-02T15:04:05.000Z07:00"

func (d decoded) write(w io.Writer, signature, appKey string, now time.Time) {
	expires := ago(d.ExpiresAt, now)
	if d.Expired {
		expires = "EXPIRED " + expires
	}
	app := "tag " + d.AppTag
	switch {
	case d.AppFits == nil:
	case *d.AppFits:
		app += ", which fits " + appKey
	default:
		app += ", which does NOT fit " + appKey
	}
	fmt.Fprintf(w, "kind\t%s token\n", d.Kind)
	fmt.Fprintf(w, "issued\t%s (%s)\n", d.IssuedAt.Format(rfc3339Milli), ago(d.IssuedAt, now))
	fmt.Fprintf(w, "expires\t%s (%s)\n", d.ExpiresAt.Format(time.RFC3339), expires)
	fmt.Fprintf(w, "lifetime\t%d s\n", d.Lifetime)
	fmt.Fprintf(w, "app\t%s\n", app)
	fmt.Fprintf(w, "serial\t%d\n", d.Serial)
	fmt.Fprintf(w, "jti\t%s\n", d.JTI)
	fmt.Fprintf(w, "key\t%d\n", d.KeyID)
	fmt.Fprintf(w, "signature\t%s\n", signature)
}

func withoutScheme(s string) string {
	if scheme, rest, ok := strings.Cut(s, " "); ok && strings.EqualFold(scheme, "Bearer") {
		s = rest
	}
	return strings.TrimSpace(s)
}
