/** The slope of samples by least squares, and how sure it is. */

export interface Slope {
  readonly perSample: number
  /** Half of the 95% confidence interval of the slope. */
  readonly plusMinus: number
}

/** Of normal errors; samples of a process that follow each other are not independent, so it is a little too sure. */
const sure = 1.96

export function slopeOf(samples: readonly number[]): Slope {
  const count = samples.length
  if (count < 3) return { perSample: 0, plusMinus: Number.POSITIVE_INFINITY }
  const middle = (count - 1) / 2
  const mean = samples.reduce((sum, one) => sum + one, 0) / count
  let spread = 0
  let common = 0
  for (const [i, one] of samples.entries()) {
    spread += (i - middle) ** 2
    common += (i - middle) * (one - mean)
  }
  const perSample = common / spread
  const rest = samples.reduce((sum, one, i) => sum + (one - mean - perSample * (i - middle)) ** 2, 0)
  return { perSample, plusMinus: sure * Math.sqrt(rest / (count - 2) / spread) }
}
