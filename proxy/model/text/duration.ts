/** Durations as text. */
const msPerUnit: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 }

/** `500ms`, `5s`, `1h30m`, `0` as milliseconds, possibly with a fraction. Undefined if it is not a duration or has no unit. */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0
  if (text.length > 40 || !/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return undefined
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)]
  return parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (msPerUnit[unit ?? ''] ?? 0), 0)
}

/** The inverse of {@link parseDuration} for whole milliseconds: 90000 is `1m30s`. */
export function durationText(ms: number): string {
  let left = Math.round(ms)
  const parts = Object.entries(msPerUnit).map(([unit, size]) => {
    const amount = Math.floor(left / size)
    left -= amount * size
    return amount > 0 ? `${amount}${unit}` : ''
  })
  return parts.join('') || '0s'
}
