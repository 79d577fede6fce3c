/** The OpenMetrics form of what prom-client prints (openmetrics.io 1.0), which may have exemplars. */

export const openMetricsType = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

/** Whether a client takes it; Prometheus asks for it first. */
export function wantsOpenMetrics(accept: string | undefined): boolean {
  return /\bapplication\/openmetrics-text\b/.test(accept ?? '')
}

/** An observation that stands for others of its bucket. */
export interface Exemplar {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
  /** Wall-clock milliseconds. */
  readonly at: number
}

/** The text of one metric. `exemplars`: one for each line of a bucket, in their order. */
export function openMetricsOf(text: string, exemplars: readonly (Exemplar | undefined)[] = []): string {
  const isCounter = /^# TYPE \S+ counter$/m.test(text)
  let bucket = 0
  return text
    .split('\n')
    .filter(line => line !== '')
    .map(line => {
      // The name of a counter is that of its samples without _total.
      if (line.startsWith('# ')) return isCounter ? line.replace(/^(# \w+ \S+?)_total /, '$1 ') : line
      const exemplar = /^\w+_bucket\{/.test(line) ? exemplars[bucket++] : undefined
      return exemplar ? `${line} ${exemplarText(exemplar)}` : line
    })
    .join('\n')
}

/** Names and values of the labels together. */
const mostCharacters = 128

/** Labels that do not fit are left out, the last ones first. */
function exemplarText({ labels, value, at }: Exemplar): string {
  let left = mostCharacters
  const parts: string[] = []
  for (const [name, text] of Object.entries(labels)) {
    left -= name.length + [...text].length
    if (left < 0) break
    parts.push(`${name}="${text.replace(/[\\"\n]/g, character => (character === '\n' ? '\\n' : `\\${character}`))}"`)
  }
  return `# {${parts.join(',')}} ${value} ${(at / 1000).toFixed(3)}`
}
