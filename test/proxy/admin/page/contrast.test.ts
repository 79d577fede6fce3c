/** The colours of the page by WCAG 2.2: 1.4.3 (text, 4.5 to 1) and 1.4.11 (edges of controls, 3 to 1), in both schemes. */
import { readFileSync } from 'node:fs'
import t from 'tap'

const style = readFileSync(new URL('../../../../proxy/admin/page/style.css', import.meta.url), 'utf8')
const [light = '', dark = ''] = [...style.matchAll(/:root \{([^}]*)\}/g)].map(([, block]) => block)

function colorsOf(block: string): Map<string, string> {
  const six = (hex: string) => (hex.length === 3 ? [...hex].map(digit => digit + digit).join('') : hex)
  return new Map([...block.matchAll(/--(\w+): #([0-9a-f]{3,6});/g)].map(([, name = '', hex = '']) => [name, six(hex)]))
}

function luminance(hex: string): number {
  const [r = 0, g = 0, b = 0] = [0, 2, 4].map(at => {
    const part = Number.parseInt(hex.slice(at, at + 2), 16) / 255
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * r + 0.7152 * g + 0.0722 * b
}

function contrast(a: string, b: string): number {
  const [low = 0, high = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y)
  return (high + 0.05) / (low + 0.05)
}

/** A colour mixed into another, as `color-mix(in srgb, …)` does. */
function mixed(a: string, b: string, part: number): string {
  return [0, 2, 4]
    .map(at => {
      const [x, y] = [a, b].map(hex => Number.parseInt(hex.slice(at, at + 2), 16)) as [number, number]
      return Math.round(x * part + y * (1 - part))
        .toString(16)
        .padStart(2, '0')
    })
    .join('')
}

for (const [scheme, block] of Object.entries({ light, dark })) {
  t.test(`${scheme}: text and controls are legible on every background`, async t => {
    const colors = colorsOf(block)
    const color = (name: string) => colors.get(name) ?? (t.fail(`--${name} is not set`) as never)
    const hover = mixed(color('accent'), color('card'), 0.06)
    const backgrounds = { paper: color('paper'), card: color('card'), glow: color('glow'), hover }
    for (const [where, background] of Object.entries(backgrounds)) {
      for (const name of ['ink', 'soft', 'accent', 'good', 'bad', 'warn', 'unsure']) {
        const ratio = contrast(color(name), background)
        t.ok(ratio >= 4.5, `${name} on ${where}: ${ratio.toFixed(2)}`)
      }
      const ratio = contrast(color('edge'), background)
      t.ok(ratio >= 3, `edges of controls on ${where}: ${ratio.toFixed(2)}`)
    }
    t.ok(contrast(color('card'), color('accent')) >= 4.5, 'a pressed button')
  })
}

t.test('the formula', async t => {
  t.equal(contrast('000000', 'ffffff'), 21)
  t.equal(contrast('777777', 'ffffff').toFixed(2), '4.48')
})
