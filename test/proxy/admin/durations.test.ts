/** The duration histogram in the text format of Prometheus. */
import { Registry } from 'prom-client'
import t from 'tap'
import { DurationHistogram } from '../../../proxy/admin/metrics/durations.ts'

t.test('durations are a Prometheus histogram, with a row for each set of labels that has values', async t => {
  const registry = new Registry()
  const labelNames = ['cluster'] as const
  const histogram = new DurationHistogram({ name: 'dials', help: 'Dials.', labelNames, bounds: [0.1, 1] })
  histogram.register(registry)
  const row = histogram.row({ cluster: 'a"b' })
  for (const seconds of [0.1, 0.5, 3]) histogram.row({ cluster: 'a"b' }).observe(seconds)
  histogram.row({ cluster: 'never dialled' })
  t.equal(histogram.row({ cluster: 'a"b' }), row)
  t.equal(
    await registry.metrics(),
    `# HELP dials Dials.
# TYPE dials histogram
dials_bucket{cluster="a\\"b",le="0.1"} 1
dials_bucket{cluster="a\\"b",le="1"} 2
dials_bucket{cluster="a\\"b",le="+Inf"} 3
dials_sum{cluster="a\\"b"} 3.6
dials_count{cluster="a\\"b"} 3
`,
  )
})
