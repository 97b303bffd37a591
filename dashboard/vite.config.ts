import { defineConfig } from 'vite';

// Where `npm run dev` finds a running service.
const service = process.env.WIGWAG_URL ?? 'http://127.0.0.1:8080';

export default defineConfig({
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    target: 'es2022',
    // The policy of the page allows no data: addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: { fileName: 'assets/licenses.txt' },
  },
  server: {
    proxy: {
      '/v1': { target: service, ws: true, changeOrigin: true },
      '/metrics': service,
      '/readyz': service,
    },
  },
});
