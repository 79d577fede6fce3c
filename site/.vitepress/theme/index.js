/** The generator's own theme, with the mark of commands that need more than this machine. */
import theme from 'vitepress/theme'
import './needs.css'

export default theme
