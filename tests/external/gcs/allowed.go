package main

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Who may do something is in a folder that is looked into for each request, so that it can
// change: a file in it of the name of a token that is taken as it is, or NAME.pem with the
// public key of those that are signed with the key NAME. Anybody may where there is no folder.
var allowed = os.Getenv("GCS_ALLOWED")

func mayUse(r *http.Request) bool {
	if allowed == "" {
		return true
	}
	token, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !isBearer {
		return false
	}
	if parts := strings.Split(token, "."); len(parts) == 3 {
		return verify(parts) == nil
	}
	_, err := os.Stat(filepath.Join(allowed, filepath.Base(token)))
	return err == nil
}

// What a service account signs itself: https://google.aip.dev/auth/4111.
func verify(parts []string) error {
	var head struct{ Alg, Kid string }
	var claims struct {
		Iss, Sub string
		Iat, Exp int64
	}
	if err := decode(parts[0], &head); err != nil {
		return err
	}
	if err := decode(parts[1], &claims); err != nil {
		return err
	}
	now := time.Now().Unix()
	if head.Alg != "RS256" || claims.Iss == "" || claims.Iss != claims.Sub || claims.Exp <= now || claims.Iat > now+60 {
		return errors.New("it does not say what it should")
	}
	text, err := os.ReadFile(filepath.Join(allowed, filepath.Base(head.Kid)+".pem"))
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return errors.New("the key is no PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return err
	}
	public, isRSA := key.(*rsa.PublicKey)
	if !isRSA {
		return errors.New("the key is not of RSA")
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature)
}

func decode(part string, into any) error {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
