package store

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// CodeReplyKept is the failing code of a connection whose provider sent a reply that
// could not be read and may have tokens.
const CodeReplyKept = "reply_kept"

// maxKeptReplies is how many replies are kept of an app. A wrong description makes every
// reply of an app unreadable, and a mend needs few of them.
const maxKeptReplies = 1000

// KeptReply is a reply that could not be read and may have tokens.
type KeptReply struct {
	ConnectionID string
	App          string
	Generation   int64  // of the connection when the reply came
	Digest       string // of the refresh token that was presented
	AttemptID    string
	Sealed       []byte // [seal.FieldKeptReply], at Generation
	Whole        bool   // the reply is all there
	SentAt       time.Time
	KeptAt       time.Time
	GivenUp      bool // an operator goes on without it
}

// keptReply is a row of kept_replies.
type keptReply struct {
	ConnectionID string     `gorm:"column:connection_id;primaryKey"`
	App          string     `gorm:"column:app"`
	Generation   int64      `gorm:"column:generation"`
	Digest       string     `gorm:"column:digest"`
	AttemptID    string     `gorm:"column:attempt_id"`
	Sealed       []byte     `gorm:"column:reply_sealed"`
	Whole        bool       `gorm:"column:whole"`
	SentAt       *time.Time `gorm:"column:sent_at"`
	KeptAt       *time.Time `gorm:"column:kept_at"`
	GivenUp      bool       `gorm:"column:given_up"`
}

// TableName implements gorm's Tabler.
func (keptReply) TableName() string { return "kept_replies" }

func (r keptReply) reply() KeptReply {
	return KeptReply{ConnectionID: r.ConnectionID, App: r.App, Generation: r.Generation, Digest: r.Digest, AttemptID: r.AttemptID,
		Sealed: r.Sealed, Whole: r.Whole, SentAt: db.Time(r.SentAt), KeptAt: db.Time(r.KeptAt), GivenUp: r.GivenUp}
}

// bars reports whether no refusal of the connection's token is believed because of the
// reply. now is the database's clock.
func (r KeptReply) bars(c perennial.Connection, now time.Time) bool {
	return !r.GivenUp && now.Before(earliest(latest(c.ExpiresAt, r.KeptAt).Add(setAsideGrace), r.KeptAt.Add(maxSetAside)))
}

// ofRow matches the replies that may bring what comes after the tokens of their
// connections' rows.
const ofRow = `EXISTS (SELECT 1 FROM connections c WHERE c.id = kept_replies.connection_id AND c.generation = kept_replies.generation
	AND c.refresh_token_digest = kept_replies.digest AND c.status <> 'disconnected')`

// KeptReply returns the reply that is kept of a connection, if there is one. A reply
// that a newer token set made useless is none.
func (s *Store) KeptReply(ctx context.Context, id string) (KeptReply, bool, error) {
	return readKept(s.db.With(ctx), id)
}

func readKept(q *gorm.DB, id string) (KeptReply, bool, error) {
	var rows []keptReply
	if err := q.Where("connection_id = ? AND "+ofRow, id).Limit(1).Find(&rows).Error; err != nil {
		return KeptReply{}, false, fmt.Errorf("look for the kept reply of connection %s: %w", id, err)
	}
	if len(rows) == 0 {
		return KeptReply{}, false, nil
	}
	return rows[0].reply(), true, nil
}

// KeptReplies returns at most n kept replies without their content, the oldest first.
func (s *Store) KeptReplies(ctx context.Context, n int) ([]KeptReply, error) {
	var rows []keptReply
	if err := s.db.With(ctx).Omit("reply_sealed").Where(ofRow).Order("kept_at, connection_id").Limit(n).Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("list the kept replies: %w", err)
	}
	out := make([]KeptReply, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.reply())
	}
	return out, nil
}

// keepReply keeps the reply of a close, unless the connection has one of this
// generation, or its app has too many. It reports whether one is kept now.
func keepReply(tx *gorm.DB, c perennial.Connection, req CloseRequest, now time.Time) (kept bool, err error) {
	if req.Kept == nil {
		return false, nil
	}
	if _, kept, err = readKept(tx, c.ID); kept || err != nil {
		return kept, err
	}
	var count int64
	if err := tx.Raw("SELECT count(*) FROM (SELECT 1 FROM kept_replies WHERE app = ? LIMIT ?) AS kept", c.App, maxKeptReplies).Scan(&count).Error; err != nil {
		return false, fmt.Errorf("count the kept replies of app %s: %w", c.App, err)
	}
	if count >= maxKeptReplies {
		return false, nil
	}
	at := now.UTC().Truncate(time.Microsecond)
	sent := c.Open.StartedAt.UTC().Truncate(time.Microsecond)
	row := keptReply{ConnectionID: c.ID, App: c.App, Generation: c.Generation, Digest: c.RefreshTokenDigest, AttemptID: req.AttemptID,
		Sealed: req.Kept.Sealed, Whole: req.Kept.Whole, SentAt: &sent, KeptAt: &at}
	if err := tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "connection_id"}}, UpdateAll: true}).Create(&row).Error; err != nil {
		return false, fmt.Errorf("keep the reply of connection %s: %w", c.ID, err)
	}
	return true, nil
}

// keptColumns returns what the close of an attempt writes whose reply is kept: the
// refresh token is not presented, as if a newer set were set aside.
func keptColumns(c perennial.Connection, now time.Time) columns {
	set := setAsideColumns(c, SetAsideRequest{ID: c.ID, Generation: c.Generation, NewGeneration: c.NextGeneration()}, now)
	if len(set) > 0 && c.Status == perennial.StatusActive {
		set.failing(c, CodeReplyKept, now)
	}
	return set
}

// dropKept deletes the reply that is kept of a connection.
func dropKept(tx *gorm.DB, id string) error {
	return db.Wrap("delete the kept reply of connection "+id, tx.Exec("DELETE FROM kept_replies WHERE connection_id = ?", id).Error)
}

// giveUpKept lets a connection go on without the reply that is kept of it.
func giveUpKept(tx *gorm.DB, id string) error {
	return db.Wrap("give up the kept reply of connection "+id, tx.Exec("UPDATE kept_replies SET given_up = ? WHERE connection_id = ?", true, id).Error)
}
