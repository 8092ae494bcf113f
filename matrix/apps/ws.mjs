import { WebSocketServer } from 'ws';
import { serve } from './plain.cjs';

const sockets = new WebSocketServer({
  server: serve({ '/clients': () => ({ clients: sockets.clients.size }) }),
});
sockets.on('connection', (socket) => {
  socket.on('error', () => socket.terminate());
  socket.on('message', (data) => socket.send(String(Number(data) ** 2)));
});
