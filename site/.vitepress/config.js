/** How the generator makes the site: pages of .pages, the sidebar of pages.ts, search without a service. */
import { sections, sitePath } from '../pages.ts'

export default {
  title: 'Starlane',
  description: 'Global services across Kubernetes clusters',
  srcDir: '.pages',
  outDir: 'dist',
  cleanUrls: false,
  markdown: {
    languageAlias: { promql: 'sql' },
    // The letters that GitHub's headings keep, so that a link works there and here.
    anchor: {
      slugify: text =>
        text
          .trim()
          .toLowerCase()
          .replace(/[^\p{L}\p{N}\s_-]/gu, '')
          .replaceAll(' ', '-'),
    },
  },
  themeConfig: {
    outline: [2, 3],
    search: { provider: 'local' },
    nav: [
      { text: 'Start', link: '/docs/start' },
      { text: 'Reference', link: '/docs/cli' },
      { text: 'Changes', link: '/CHANGELOG' },
    ],
    sidebar: sections.map(({ title, pages }, i) => ({
      text: title,
      collapsed: i > 1,
      items: pages.map(([path, text]) => ({ text, link: `/${sitePath(path)}` })),
    })),
  },
}
