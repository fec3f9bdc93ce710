package acme

import (
	"context"
	"log/slog"

	"go.uber.org/zap/zapcore"
)

// core writes what certmagic says into our log. Its errors are warnings:
// it tries again, and what matters in the end is alerted.
type core struct {
	log    *slog.Logger
	fields []zapcore.Field
}

var levels = map[zapcore.Level]slog.Level{
	zapcore.DebugLevel: slog.LevelDebug, zapcore.InfoLevel: slog.LevelDebug, zapcore.WarnLevel: slog.LevelInfo,
}

func level(l zapcore.Level) slog.Level {
	if to, ok := levels[l]; ok {
		return to
	}
	return slog.LevelWarn
}

// Enabled implements zapcore.Core.
func (c core) Enabled(l zapcore.Level) bool { return c.log.Enabled(context.Background(), level(l)) }

// With implements zapcore.Core.
func (c core) With(fields []zapcore.Field) zapcore.Core {
	return core{c.log, append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

// Check implements zapcore.Core.
func (c core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write implements zapcore.Core. Only the fields that say of what and why are
// taken: others hold tokens and whole answers.
func (c core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range append(c.fields[:len(c.fields):len(c.fields)], fields...) {
		f.AddTo(enc)
	}
	args := []any{"says", e.Message}
	for _, name := range []string{"identifier", "identifiers", "challenge_type", "error"} {
		if v, ok := enc.Fields[name]; ok {
			args = append(args, name, v)
		}
	}
	c.log.Log(context.Background(), level(e.Level), "acme", args...)
	return nil
}

// Sync implements zapcore.Core.
func (c core) Sync() error { return nil }
