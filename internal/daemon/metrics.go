package daemon

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gatepost/internal/daemon/settings"
	"gatepost/internal/smtpd"
)

// meter watches the commits of the spool from the moment it is opened.
type meter struct {
	seconds prometheus.Histogram
	records prometheus.Histogram
}

func newMeter() meter {
	return meter{
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "gatepost_spool_commit_seconds",
			Help:    "Time to write and sync one batch of the spool.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		records: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "gatepost_spool_commit_records",
			Help:    "Records in one batch of the spool.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 12),
		}),
	}
}

func (m meter) commit(records int, took time.Duration) {
	m.seconds.Observe(took.Seconds())
	m.records.Observe(float64(records))
}

// metrics answers /metrics.
func (s *Server) metrics() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		s.parts.meter.seconds, s.parts.meter.records)
	s.sessionMetrics(r)
	s.queueMetrics(r)
	s.partMetrics(r)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{}))
	return mux
}

// count registers what a part counts. pairs are names and values of labels.
func count(r *prometheus.Registry, name, help string, n *atomic.Int64, pairs ...string) {
	countFunc(r, name, help, func() float64 { return float64(n.Load()) }, pairs...)
}

func countFunc(r *prometheus.Registry, name, help string, read func() float64, pairs ...string) {
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels(pairs)}, read))
}

func gauge(r *prometheus.Registry, name, help string, read func() float64, pairs ...string) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels(pairs)}, read))
}

func labels(pairs []string) prometheus.Labels {
	l := prometheus.Labels{}
	for i := 0; i+1 < len(pairs); i += 2 {
		l[pairs[i]] = pairs[i+1]
	}
	return l
}

// sessionMetrics tells what happens at the doors of SMTP.
func (s *Server) sessionMetrics(r *prometheus.Registry) {
	gauge(r, "gatepost_connections", "Connections open now.", func() float64 { return float64(s.bounds.Open()) })
	for _, d := range settings.Doors {
		for _, c := range []struct {
			name, help string
			of         func(*smtpd.Counters) *atomic.Int64
		}{
			{"gatepost_sessions_total", "SMTP sessions begun.", func(c *smtpd.Counters) *atomic.Int64 { return &c.Sessions }},
			{"gatepost_sessions_tls_total", "SMTP sessions that were encrypted.", func(c *smtpd.Counters) *atomic.Int64 { return &c.TLS }},
			{"gatepost_session_timeouts_total", "SMTP sessions that ended by a timeout.", func(c *smtpd.Counters) *atomic.Int64 { return &c.Timeouts }},
			{"gatepost_sign_ins_total", "Successful sign-ins.", func(c *smtpd.Counters) *atomic.Int64 { return &c.SignIns }},
			{"gatepost_sign_in_failures_total", "Failed sign-ins.", func(c *smtpd.Counters) *atomic.Int64 { return &c.SignInFailures }},
			{"gatepost_messages_accepted_total", "Messages acknowledged with 250.", func(c *smtpd.Counters) *atomic.Int64 { return &c.Messages }},
			{"gatepost_messages_refused_total", "Messages refused after their content.", func(c *smtpd.Counters) *atomic.Int64 { return &c.MessagesRefused }},
			{"gatepost_octets_accepted_total", "Octets of acknowledged messages.", func(c *smtpd.Counters) *atomic.Int64 { return &c.Octets }},
			{"gatepost_recipients_accepted_total", "Recipients of acknowledged messages.", func(c *smtpd.Counters) *atomic.Int64 { return &c.Recipients }},
			{"gatepost_recipients_refused_total", "RCPT commands that were refused.", func(c *smtpd.Counters) *atomic.Int64 { return &c.RecipientsRefused }},
			{"gatepost_smuggling_total", "Messages refused for a bare CR, LF or NUL.", func(c *smtpd.Counters) *atomic.Int64 { return &c.Smuggling }},
		} {
			countFunc(r, c.name, c.help, func() float64 { return s.sum(d, c.of) }, "door", d.Key)
		}
		gauge(r, "gatepost_sessions", "SMTP sessions running now.", func() float64 {
			return s.sum(d, func(c *smtpd.Counters) *atomic.Int64 { return &c.Open })
		}, "door", d.Key)
	}
}

// queueMetrics tells what is on its way and what became of it.
func (s *Server) queueMetrics(r *prometheus.Registry) {
	q := s.parts.queue
	gauge(r, "gatepost_queue_messages", "Messages that wait for delivery.", func() float64 { return float64(q.Depth()) })
	gauge(r, "gatepost_queue_oldest_seconds", "Age of the oldest message that waits for delivery.", func() float64 { return q.OldestAge().Seconds() })
	count(r, "gatepost_delivery_attempts_total", "Attempts at delivery.", &q.Counters.Attempts)
	for result, n := range map[string]*atomic.Int64{
		"delivered": &q.Counters.Delivered, "relayed": &q.Counters.Relayed, "deferred": &q.Counters.Deferred,
		"failed": &q.Counters.Failed, "kept": &q.Counters.Kept, "dropped": &q.Counters.Dropped,
	} {
		count(r, "gatepost_deliveries_total", "Recipients by what an attempt came to.", n, "result", result)
	}
	count(r, "gatepost_expired_total", "Recipients given up for their age.", &q.Counters.Expired)
	count(r, "gatepost_reports_total", "Bounces and other reports to senders.", &q.Counters.Reports)
}

// partMetrics tells what the parts below do.
func (s *Server) partMetrics(r *prometheus.Registry) {
	sp := &s.parts.spool.Counters
	count(r, "gatepost_spool_messages_total", "Messages made durable.", &sp.Messages)
	count(r, "gatepost_spool_batches_total", "Batches written and synced.", &sp.Batches)
	count(r, "gatepost_spool_faults_total", "Writes and syncs of the spool that failed.", &sp.Faults)
	count(r, "gatepost_spool_damaged_total", "Bodies found damaged when they were read.", &sp.Damaged)
	gauge(r, "gatepost_spool_disk_octets", "Octets of the spool's segments.", func() float64 { return float64(sp.Disk.Load()) })
	count(r, "gatepost_store_commits_total", "Transactions of the store.", &s.parts.db.Counters.Commits)
	count(r, "gatepost_store_failures_total", "Transactions of the store that were lost to an error.", &s.parts.db.Counters.Failed)
	count(r, "gatepost_password_hashes_total", "Argon2id runs.", &s.parts.directory.Counters.Hashes)
	res := &s.parts.resolver.Counters
	count(r, "gatepost_dns_lookups_total", "DNS look-ups.", &res.Lookups)
	count(r, "gatepost_dns_hits_total", "DNS look-ups answered from memory.", &res.Hits)
	count(r, "gatepost_dns_failures_total", "DNS queries without a useful answer.", &res.Failures)
	gauge(r, "gatepost_certificate_seconds", "Time until the first certificate in use ends.", func() float64 {
		return s.certificateLeft().Seconds()
	})
	gauge(r, "gatepost_tlsa_mismatch", "1 while the TLSA records in the DNS match no key in use, so that servers which heed them deliver nothing.", func() float64 {
		return float64(s.parts.host.Broken.Load())
	})
	pr := s.parts.protection
	count(r, "gatepost_sts_fetches_total", "MTA-STS policies asked for.", &pr.Policies.Counters.Fetches)
	count(r, "gatepost_sts_failures_total", "MTA-STS policies that could not be had.", &pr.Policies.Counters.Failed)
	count(r, "gatepost_proofs_dropped_total", "Notes of what deliveries got that could not be kept.", &pr.Book.Dropped)
	count(r, "gatepost_activity_dropped_total", "Events of activity that could not be kept.", &s.parts.guard.Book.Dropped)
	count(r, "gatepost_alerts_total", "Alerts that were sent to accounts.", &s.parts.guard.Alerts)
	hooks := s.parts.guard.Hooks
	count(r, "gatepost_hooks_posted_total", "Events that a webhook took.", &hooks.Posted)
	count(r, "gatepost_hooks_failed_total", "Posts that a webhook did not take.", &hooks.Failed)
	count(r, "gatepost_hooks_lost_total", "Events that a webhook will never hear of: no room, or too old.", &hooks.Lost)
	rep := s.parts.reputation
	count(r, "gatepost_reports_taken_total", "Reports on our domains that were counted.", &rep.Taken)
	count(r, "gatepost_reports_again_total", "Reports that had been counted before.", &rep.Again)
	count(r, "gatepost_reports_refused_total", "Messages to an address for reports with none that could be counted.", &rep.Refused)
	for kind, n := range s.parts.courier.Counters {
		count(r, "gatepost_reports_posted_total", "Reports of ours that a URL took.", &n.Posted, "kind", string(kind))
		count(r, "gatepost_reports_mailed_total", "Reports of ours that went by mail.", &n.Mailed, "kind", string(kind))
		count(r, "gatepost_reports_failed_total", "Attempts to send a report of ours that failed.", &n.Failed, "kind", string(kind))
		count(r, "gatepost_reports_unsigned_total", "Attempts to send a report of ours that had to wait for a key to sign with.", &n.Unsigned, "kind", string(kind))
	}
	count(r, "gatepost_witness_dropped_total", "Messages that no DMARC report will tell of, for want of room.", &s.parts.witness.Dropped)
	count(r, "gatepost_tls_sessions_dropped_total", "Sessions that no TLS report will tell of.", &pr.Tally.Dropped)
}
