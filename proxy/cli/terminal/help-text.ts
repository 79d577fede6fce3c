/** Fits help texts to the width of a terminal. */
import { wrapped } from './table.ts'

/**
 * Paragraphs, which begin at the left, are filled anew. Of a line in two columns, which two spaces or more separate, the second
 * goes on below itself, as does a line that begins far to the right. Other indented lines are commands, and stay as they are.
 */
export function fitHelp(text: string, width: number): string {
  const lines: string[] = []
  let paragraph = ''
  const endParagraph = () => {
    if (paragraph !== '') lines.push(...wrapped(paragraph, width))
    paragraph = ''
  }
  for (const line of text.split('\n')) {
    if (/^\S/.test(line)) {
      paragraph = paragraph === '' ? line : `${paragraph} ${line}`
      if (line.endsWith(':')) endParagraph()
      continue
    }
    endParagraph()
    const [, before = ''] = /^(\s+\S.*?\s{2,}|\s{7,})\S/.exec(line) ?? []
    const isCommand = /^\s+(starlane|npx) /.test(line)
    if (isCommand || line.length <= width || before === '') lines.push(line)
    else {
      const [first = '', ...rest] = wrapped(line.slice(before.length), Math.max(width - before.length, 20))
      lines.push(`${before}${first}`, ...rest.map(more => ' '.repeat(before.length) + more))
    }
  }
  endParagraph()
  return lines.join('\n')
}
