const answer = await fetch('/api/overview');
document.getElementById('overview').textContent = JSON.stringify(await answer.json(), null, 2);
