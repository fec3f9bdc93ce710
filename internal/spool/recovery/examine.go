package recovery

import (
	"gatepost/internal/spool/segment"
	"gatepost/internal/spool/wire"
)

// Examine reads all that segments hold, as a start does that finds no index,
// and returns what is damaged, a sentence each. It changes nothing. durable is
// what is known to be so; each is called with every record that is there, and
// done after every segment, with its size: an error of it ends the work.
func Examine(views []segment.View, durable wire.Mark, each func(*segment.Segment, wire.Found), done func(int64) error) ([]string, error) {
	r := &recovery{report: &Report{}, durable: map[uint64]uint64{durable.Gen: durable.Seq}}
	var words wire.Words
	for _, v := range views {
		rd := v.Examine()
		r.report.Findings = append(r.report.Findings, rd.Findings...)
		for _, f := range rd.Found {
			if !f.Damaged {
				each(v.Segment, f)
			}
			if !f.Sensible(&words) {
				r.report.find("%s: the record at offset %d is intact but makes no sense", v.Segment.Path, f.Off)
			}
		}
		// Only the damaged are needed any further, by judge.
		rd.Found = damaged(rd.Found)
		r.readings = append(r.readings, rd)
		if err := done(v.Segment.Size); err != nil {
			return nil, err
		}
	}
	r.judge()
	r.eachFound(0, func(g *segment.Segment, f wire.Found) {
		r.report.find("%s: the content of the message at offset %d is damaged", g.Path, f.Off)
	})
	return r.report.Findings, nil
}

func damaged(list []wire.Found) (few []wire.Found) {
	for _, f := range list {
		if f.Damaged {
			f.Text = nil
			few = append(few, f)
		}
	}
	return few
}
