/** A histogram with CoreDNS's buckets for durations. Adding a value is one loop over the bounds. */
import type { Distribution } from '../model/stats/dns.ts'

const secondsBounds = [
  0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096,
]

export class Histogram implements Distribution {
  readonly bounds: readonly number[]
  readonly counts: number[]
  sum = 0

  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = Array.from({ length: bounds.length + 1 }, () => 0)
  }

  static ofSeconds(): Histogram {
    return new Histogram(secondsBounds)
  }

  /** A copy that does not change any more. */
  snapshot(): Distribution {
    return { bounds: this.bounds, counts: [...this.counts], sum: this.sum }
  }

  add(value: number): void {
    this.sum += value
    let bucket = 0
    while (bucket < this.bounds.length && value > (this.bounds[bucket] as number)) bucket++
    this.counts[bucket] = (this.counts[bucket] as number) + 1
  }
}
